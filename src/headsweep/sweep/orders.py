"""Orders that lie below a root, for workers that the command of a sweep has not started itself.

::

    root/orders/<name>/
      <process>.json   what the workers of a command train just now
      <process>.beat   a number that the living command raises

A command takes its order away when it ends, also after Ctrl-C: workers stop when none is left. The
order of a command that was killed stays, so that its workers finish what it has begun.
"""

import json
import os
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from headsweep.errors import UserError
from headsweep.files import write_atomic
from headsweep.store import paths
from headsweep.sweep.leases import Silences
from headsweep.sweep.order import Order

LOOK_SECONDS = 0.5
"""Seconds between two looks at the orders."""

Key = tuple[str, int]
"""Of an order: the process of its command, and its number among those of the command."""


@dataclass(frozen=True)
class Given:
    """An order as it lies in its file.

    Attributes:
        key: What it is known by.
        cwd: Folder in which its command was started; its paths are relative to it.
        order: What to train.
        beat: Content of the file that its command changes.
    """

    key: Key
    cwd: str
    order: Order
    beat: str


class Orders:
    """The orders of all commands of one sweep.

    Args:
        root: The folder of all output.
        name: Of the sweep.
        clock: Seconds since some moment, by which silences are measured.
    """

    def __init__(self, root: Path, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = (root / paths.ORDERS / name).absolute()
        self._silences = Silences(clock)

    def all(self) -> list[Given]:
        """The orders that lie there; those of living commands come first."""
        found = []
        for file in self.folder.glob("*.json"):
            with suppress(FileNotFoundError):  # taken away meanwhile
                values = json.loads(file.read_bytes())
                order = Order.from_json(json.dumps(values["order"]))
                beat = file.with_suffix(".beat")
                sign = beat.read_text() if beat.exists() else ""
                found.append(Given((file.stem, values["number"]), values["cwd"], order, sign))
        return sorted(found, key=self._is_silent)

    def are_there(self) -> bool:
        """False when every command of the sweep has ended; one that was killed has not."""
        return any(self.folder.glob("*.json"))

    def next(self, done: Collection[Key], wait: Callable[[float], object]) -> Given | None:
        """Wait for an order that was not worked on yet.

        Args:
            done: Keys of those that were.
            wait: Called with seconds between two looks.

        Returns:
            It, or None when no command that lives may give another.
        """
        while True:
            given = self.all()
            if new := [one for one in given if one.key not in done]:
                return new[0]
            if all(self._is_silent(one) for one in given):
                return None
            wait(LOOK_SECONDS)

    def drop_dead(self, own: str) -> None:
        """Take away the orders of other commands that are dead.

        Args:
            own: Key of the process of this command.
        """
        for one in self.all():
            if one.key[0] != own and self._is_silent(one):
                self.take_away(one.key[0])

    def take_away(self, process: str) -> None:
        """Take away the order of a command."""
        for suffix in (".json", ".beat"):
            (self.folder / f"{process}{suffix}").unlink(missing_ok=True)
        for folder in (self.folder, self.folder.parent):
            with suppress(OSError):  # others lie there
                folder.rmdir()

    def _is_silent(self, given: Given) -> bool:
        command = given.order.command
        if command.is_local():
            return not command.is_alive()
        return self._silences.is_silent(given.key, given.beat)


class OwnOrder:
    """The order of one command.

    Args:
        orders: Of the sweep.
        process: Key of the command's process.
    """

    def __init__(self, orders: Orders, process: str) -> None:
        self.orders, self.process = orders, process
        self._number = self._beats = 0

    def give(self, order: Order) -> None:
        """Tell all workers of the sweep what to train from now on."""
        self._number += 1
        values = {"number": self._number, "cwd": os.getcwd(), "order": json.loads(order.to_json())}
        self.beat()
        write_atomic(self._file(".json"), json.dumps(values).encode(), sync=False)
        self.orders.drop_dead(self.process)

    def beat(self) -> None:
        """Show that the command lives."""
        self._beats += 1
        write_atomic(self._file(".beat"), str(self._beats).encode(), sync=False)

    def withdraw(self) -> None:
        """Take the order away, and those of dead commands: workers stop when none is left."""
        self.orders.drop_dead(self.process)
        self.orders.take_away(self.process)

    def _file(self, suffix: str) -> Path:
        return self.orders.folder / f"{self.process}{suffix}"


def enter(cwd: str) -> None:
    """Go to the folder of a command, which its paths are relative to.

    Raises:
        UserError: This machine does not have it.
    """
    try:
        os.chdir(cwd)
    except OSError:
        raise UserError(
            f"{cwd}: the folder of the command is not on this machine; start command and workers "
            "in a folder that all machines share"
        ) from None
