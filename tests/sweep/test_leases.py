"""Leases: the kernel says who is alive here, elsewhere a counter and our own clock do."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headsweep.sweep.leases import (
    BEAT_SECONDS,
    SILENT_SECONDS,
    Holder,
    Lease,
    Leases,
    Process,
    alive,
)
from helpers.killable import Clock
from helpers.waiting import wait_for

ME = Process.of(os.getpid())
FAR = Process("elsewhere", "boot", 1, 0.0)


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    process.kill()
    process.wait()


def test_a_process_lives_until_it_is_killed_even_unreaped(
    child: subprocess.Popen[bytes],
) -> None:
    process = Process.of(child.pid)
    assert process.is_local()
    assert process.is_alive()
    child.kill()
    wait_for(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    assert not process.is_alive()
    child.wait()
    assert not process.is_alive()


def test_a_later_process_with_the_same_number_is_another() -> None:
    assert ME.is_alive()
    assert not replace(ME, start=ME.start - 60).is_alive()
    assert not replace(ME, boot="an earlier one").is_alive()
    assert replace(ME, boot="an earlier one").is_local()
    assert not replace(ME, host="elsewhere").is_local()


def test_setting_the_clock_kills_nobody(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    process, started = Process.of(child.pid), psutil.boot_time()
    # Where psutil looks itself, so that times of creation are moved with it.
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: started + 3600)
    assert psutil.boot_time() == started + 3600
    assert psutil.Process(child.pid).create_time() > time.time() + 1800
    assert process.is_alive()


def test_a_dead_owner_here_is_known_at_once(child: subprocess.Popen[bytes], tmp_path: Path) -> None:
    owner, other = Leases(tmp_path, Process.of(child.pid)), Leases(tmp_path, ME)
    lease = owner.claim(0)
    assert not other.is_dead(lease)
    child.kill()
    child.wait()
    assert other.is_dead(lease)
    assert other.is_dead(Lease(0, attempt=1))  # nobody's


def test_an_owner_elsewhere_is_dead_after_a_silence(tmp_path: Path) -> None:
    clock = Clock()
    owner, other = Leases(tmp_path, FAR), Leases(tmp_path, ME, clock=clock)
    lease = owner.claim(0)
    clock.now = 1e6  # what was before the first look does not count

    def look() -> bool:
        now = other.read(0)
        assert now is not None
        return other.is_dead(now)

    assert not look()
    clock.now += SILENT_SECONDS
    assert not look()
    assert owner.beat(lease)
    clock.now += 0.1
    assert not look()
    clock.now += SILENT_SECONDS + 0.1
    assert look()
    lease = owner.claim(0)  # begun again, and the counter is 0 as before
    assert not look()
    assert not Leases(tmp_path, ME, clock=clock).is_dead(
        lease
    )  # another observer begins to count anew


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=20))
def test_the_silence_is_that_since_the_last_change_seen(looks: list[tuple[float, bool]]) -> None:
    clock = Clock()
    other = Leases(Path("unused"), ME, clock=clock)
    changed, counter = 0.0, 0
    other.is_dead(Lease(0, 1, worker=FAR))
    for pause, beats in looks:
        clock.now += pause
        if beats:
            counter, changed = counter + 1, clock.now
        dead = other.is_dead(Lease(0, 1, counter=counter, worker=FAR))
        assert dead == (clock.now - changed > SILENT_SECONDS)


def test_an_owner_elsewhere_may_miss_two_beats(tmp_path: Path) -> None:
    clock = Clock()
    owner, other = Leases(tmp_path, FAR), Leases(tmp_path, ME, clock=clock)
    lease = owner.claim(0)
    for beat in range(30):
        clock.now += BEAT_SECONDS
        if beat % 3 == 2:
            assert owner.beat(lease)
        now = other.read(0)
        assert now is not None
        assert not other.is_dead(now)


def test_who_lost_a_lease_cannot_use_it(tmp_path: Path) -> None:
    owner, other = Leases(tmp_path, FAR), Leases(tmp_path, ME)
    lost = owner.claim(3)
    assert owner.is_mine(lost)
    assert owner.beat(lost)
    assert owner.is_mine(lost)  # whatever the counter says
    taken = other.claim(3)
    assert (taken.attempt, taken.worker, taken.counter) == (2, ME, 0)
    assert not owner.is_mine(lost)
    assert not owner.beat(lost)
    assert other.read(3) == taken
    other.free(taken)
    assert not other.is_mine(taken)
    assert not owner.beat(lost)
    other.remove(3)
    assert not owner.is_mine(lost)
    assert not owner.beat(lost)
    assert other.all() == []


def test_the_same_worker_knows_an_earlier_attempt_from_a_later_one(tmp_path: Path) -> None:
    leases = Leases(tmp_path, ME)
    first = leases.claim(0)
    leases.free(first)
    second = leases.claim(0)
    assert not leases.is_mine(first)
    assert leases.is_mine(second)


def test_attempts_and_deaths_are_counted(tmp_path: Path) -> None:
    leases = Leases(tmp_path, ME, ME)
    for attempt in (1, 2, 3):
        lease = leases.claim(0)
        assert (lease.attempt, lease.deaths) == (attempt, attempt - 1)
        leases.free(lease, deaths=1)
    freed = leases.read(0)
    assert freed == Lease(0, attempt=3, deaths=3)
    assert leases.is_dead(freed)
    assert not leases.died_alone(freed)


def test_a_death_is_the_works_own_only_beside_a_living_command_here(
    child: subprocess.Popen[bytes],
) -> None:
    leases = Leases(Path("unused"))
    lease = Lease(0, 1, worker=replace(ME, start=0.0), command=Process.of(child.pid))
    assert leases.died_alone(lease)
    child.kill()
    child.wait()
    assert not leases.died_alone(lease)
    assert not leases.died_alone(replace(lease, command=FAR))
    assert not leases.died_alone(replace(lease, command=None))


PROCESSES = st.builds(
    Process, st.text(), st.text(), st.integers(0, 2**22), st.floats(0, 1e9, allow_nan=False)
)
WHOLE = st.integers(0, 1000)


@given(st.none() | PROCESSES, st.none() | PROCESSES, WHOLE, st.integers(0, 3), WHOLE)
def test_a_lease_is_read_as_it_was_written(
    worker: Process | None, command: Process | None, number: int, beats: int, deaths: int
) -> None:
    with TemporaryDirectory() as folder:
        leases = Leases(Path(folder), worker, command)
        lease = leases.claim(number)
        assert lease == Lease(number, 1, worker=worker, command=command)
        assert leases.read(number) == lease
        assert all(leases.beat(lease) for _ in range(beats))
        assert leases.read(number) == replace(lease, counter=beats)
        leases.free(lease, deaths)
        assert leases.read(number) == Lease(number, 1, deaths)


def test_a_file_that_a_crash_of_the_machine_emptied_is_no_lease(tmp_path: Path) -> None:
    leases = Leases(tmp_path, ME)
    for number in (10, 9, 2):
        leases.claim(number)
    (tmp_path / "leases/9.json").write_bytes(b"")
    (tmp_path / "leases/.tmp-1234").write_bytes(b"{}")
    assert leases.read(9) is None
    assert [lease.number for lease in leases.all()] == [2, 10]
    assert leases.claim(9).attempt == 1


HOLD = """
import sys, time
from pathlib import Path
from headsweep.sweep.leases import Leases
with Leases(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(1000)
"""


def test_the_lock_keeps_others_out_and_goes_with_its_process(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    entered: list[float] = []

    def enter() -> None:
        with Leases(tmp_path).lock():
            entered.append(time.monotonic())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join(timeout=0.2)
    assert not entered
    killed = time.monotonic()
    holder.kill()
    holder.communicate()
    thread.join(timeout=60)
    assert entered[0] - killed < 10


def test_threads_of_one_process_keep_each_other_out(tmp_path: Path) -> None:
    leases, other = Leases(tmp_path, ME), Leases(tmp_path, ME)
    lease = leases.claim(0)

    def beat(by: Leases) -> None:
        for _ in range(50):
            with by.lock():
                assert by.beat(lease)

    threads = [threading.Thread(target=beat, args=(by,)) for by in (leases, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now = leases.read(0)
    assert now is not None
    assert now.counter == 100


def test_the_lock_taken_twice_in_a_thread_is_an_error_and_no_deadlock(tmp_path: Path) -> None:
    leases = Leases(tmp_path, ME)
    with leases.lock(), pytest.raises(RuntimeError, match="Deadlock"), leases.lock():
        pass
    with leases.lock():
        pass


def test_a_lease_is_plain_json(tmp_path: Path) -> None:
    Leases(tmp_path, FAR, FAR).claim(7)
    far = {"host": "elsewhere", "boot": "boot", "pid": 1, "start": 0.0}
    assert json.loads((tmp_path / "leases/7.json").read_bytes()) == {
        "number": 7,
        "attempt": 1,
        "deaths": 0,
        "counter": 0,
        "worker": far,
        "command": far,
        "alone": False,
    }


def test_who_works_in_a_folder_is_seen_without_its_lock(
    child: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    worker = Process.of(child.pid)
    assert alive(tmp_path) == alive(tmp_path / "missing") == []
    with Leases(tmp_path, ME, ME).attended() as say:
        assert alive(tmp_path) == [Holder(ME)]
        say()
        Leases(tmp_path, worker, ME).claim(3)
        assert set(alive(tmp_path)) == {Holder(ME), Holder(worker, 3)}
        child.send_signal(signal.SIGSTOP)
        wait_for(worker.is_stopped)
        assert f"process {child.pid} (stopped), training 3" in map(str, alive(tmp_path))
        child.kill()
        child.wait()
        assert not worker.is_stopped()
        assert alive(tmp_path) == [Holder(ME)]
    assert alive(tmp_path) == []


def test_a_command_elsewhere_lives_while_its_file_is_young(tmp_path: Path) -> None:
    with Leases(tmp_path, FAR, FAR).attended():
        assert list(map(str, alive(tmp_path))) == ["process 1 on elsewhere, a command"]
        old = time.time() - SILENT_SECONDS - 1
        os.utime(tmp_path / f"leases/command-{FAR.key}.json", (old, old))
        assert alive(tmp_path) == []
        with Leases(tmp_path, ME, ME).attended():
            assert not (tmp_path / f"leases/command-{FAR.key}.json").exists()


def test_a_wrong_clock_of_this_host_kills_nobody_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Leases(tmp_path, FAR, FAR).attended():
        Leases(tmp_path, FAR, FAR).claim(3)
        for wrong in (-1e4, 1e4):  # seconds from that of the files
            skewed = SimpleNamespace(time=lambda w=wrong: time.time() + w)
            monkeypatch.setattr("headsweep.sweep.leases.time", skewed)
            assert alive(tmp_path) == [Holder(FAR, 3), Holder(FAR)]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"worker": 3}', b'{"number": 1'])
def test_a_damaged_lease_is_nobodys(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "leases").mkdir()
    for name in ("0", "x", "command-7"):
        (tmp_path / f"leases/{name}.json").write_bytes(content)
    assert alive(tmp_path) == Leases(tmp_path).all() == []
    assert Leases(tmp_path).read(0) is None
