"""Orders below a root: who gives them, who finds them, and when nobody will give another."""

import os
import subprocess
from pathlib import Path

import pytest

from headsweep.errors import UserError
from headsweep.sweep.leases import SILENT_SECONDS, Process
from headsweep.sweep.order import Order
from headsweep.sweep.orders import Given, Orders, OwnOrder, enter

ME = Process.of(os.getpid())
FAR = Process("elsewhere", "boot", 1, 0.0)


def order(root: Path, command: Process) -> Order:
    return Order(["head=simpler"], None, root / "sweeps/s", None, command)


def never(_: float) -> None:
    raise AssertionError("waits")


def test_an_order_is_found_until_its_command_takes_it_away(tmp_path: Path) -> None:
    orders, own = Orders(tmp_path, "s"), OwnOrder(Orders(tmp_path, "s"), ME.key)
    assert orders.next(set(), never) is None
    assert not orders.are_there()
    own.give(order(tmp_path, ME))
    assert orders.are_there()
    found = orders.next(set(), never)
    assert found == Given((ME.key, 1), os.getcwd(), order(tmp_path, ME), "1")
    own.give(order(tmp_path, ME))
    again = orders.next({found.key}, never)
    assert again is not None
    assert again.key == (ME.key, 2)

    # The command lives: it may give another, until it ends.
    assert orders.next({found.key, again.key}, lambda _: own.withdraw()) is None
    assert not (tmp_path / "orders").exists()


def test_the_order_of_a_dead_command_is_worked_on_and_then_goes(tmp_path: Path) -> None:
    child = subprocess.Popen(["sleep", "1000"])
    dead = Process.of(child.pid)
    OwnOrder(Orders(tmp_path, "s"), dead.key).give(order(tmp_path, dead))
    child.kill()
    child.wait()
    orders = Orders(tmp_path, "s")
    found = orders.next(set(), never)
    assert found is not None
    assert found.order.command == dead
    assert orders.next({found.key}, never) is None
    own = OwnOrder(Orders(tmp_path, "s"), ME.key)
    own.give(order(tmp_path, ME))
    assert [one.key for one in orders.all()] == [(ME.key, 1)]


def test_a_command_elsewhere_is_dead_when_it_is_silent_by_our_own_clock(tmp_path: Path) -> None:
    now = 0.0
    orders = Orders(tmp_path, "s", lambda: now)
    own = OwnOrder(Orders(tmp_path, "s"), FAR.key)
    own.give(order(tmp_path, FAR))
    # Its host may think that it is another year.
    for file in (tmp_path / "orders/s").iterdir():
        os.utime(file, (1e9, 1e9))
    key = (FAR.key, 1)
    beats = 0

    def wait(_: float) -> None:
        nonlocal now, beats
        now += SILENT_SECONDS - 1
        if beats < 3:
            beats += 1
            own.beat()

    assert orders.next({key}, wait) is None
    assert beats == 3
    assert now > 4 * (SILENT_SECONDS - 1)
    orders.drop_dead(ME.key)
    assert not orders.are_there()


def test_a_folder_that_is_not_shared_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not on this machine"):
        enter(str(tmp_path / "missing"))
