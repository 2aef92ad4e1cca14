"""Kinds of kills, deletions and moves of a sweep, each with the same command given again.

Each kind takes a ``Case`` and leaves its root as it is after the disturbance; ``Case.judge`` then
gives the same command again, undisturbed, and compares the end with that of a sweep left alone.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from headsweep.files import read_json
from helpers import end_state, killing
from helpers.killing import Sweep
from helpers.serving import free_port, mlflow_server
from helpers.waiting import wait_for

SAID_SECONDS = 60.0
"""A second command has said for whom it waits after so long; its start is most of it."""

SERVER_SECONDS = 60.0
"""A command ends so long after its server died, with all that it does else."""


@dataclass
class Case:
    """One disturbance of one sweep.

    Attributes:
        sweep: Which is disturbed.
        root: Its root; an empty folder at first.
        reference: Root of the same sweep that nobody disturbed.
        rng: Decides all that is random.
        wrong: What is not as it should be.
        lost: Jobs that were being trained, or were damaged, when the disturbance came.
        before: When each other finished member had ended.
        words: What exactly was done.
        more: Arguments of all commands beside those of the sweep.
        database: Of a server that has the runs in place of the root's own.
        stack: Left when the case is over.
    """

    sweep: Sweep
    root: Path
    reference: Path
    rng: random.Random
    wrong: list[str] = field(default_factory=list)
    lost: set[int] = field(default_factory=set)
    before: dict[str, int] = field(default_factory=dict)
    words: str = ""
    more: tuple[str, ...] = ()
    database: Path | None = None
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def folder(self) -> Path:
        """The sweep's folder."""
        return self.sweep.folder(self.root)

    def fill(self, complete: bool = True) -> None:
        """Begin with a copy of the undisturbed root, or of its caches alone."""
        source, target = (self.reference, self.root)
        if not complete:
            source, target = source / "cache", target / "cache"
        shutil.copytree(source, target, dirs_exist_ok=True)

    def note(self, words: str, damaged: set[int] | None = None) -> None:
        """Keep what was done just now, and what was finished then."""
        self.words = f"{self.words}, {words}".removeprefix(", ")
        self.lost |= self.sweep.running(self.root) | (damaged or set())
        self.before |= end_state.finished(self.folder)

    def judge(self) -> None:
        """Give the same command again and compare the end."""
        self.sweep.run_to_the_end(self.root, *self.more)
        self.wrong += end_state.differences(self.sweep.folder(self.reference), self.folder)
        shown = end_state.tracked(self.reference / "mlflow.db", self.reference)
        database = self.database or self.root / "mlflow.db"
        theirs = end_state.tracked(database, database.parent)
        self.wrong += end_state.tracked_differences(shown, theirs)
        now = end_state.finished(self.folder)
        for member, ended in self.before.items():
            if int(member.split("/")[1]) not in self.lost and now.get(member) != ended:
                self.wrong.append(f"{member} was finished and is trained again")
        logs = [*self.root.parent.glob(f"{self.root.name}.*"), *(self.folder / "logs").glob("*")]
        self.wrong += [f"traceback in {p.name}" for p in logs if "Traceback" in p.read_text()]


def killed_at_a_write(case: Case) -> None:
    """SIGKILL of the command and its workers just after a write."""
    moments = ["lease", "result", "MLflow", "cache"]
    moments += ["journal"] if case.sweep is killing.SEARCH else []
    moment, number = case.rng.choice(moments), case.rng.randint(1, 3)
    if moment == "cache":
        number = 1
    else:
        case.fill(complete=False)
    process = killing.after_write(case.sweep, case.root, moment, number, case.rng)
    assert process is not None, "ended before the kill"
    _kill(case, process)
    case.note(f"write {number} of {moment}")


def killed_at_any_time(case: Case) -> None:
    """SIGKILL of the command and its workers while a job is trained."""
    case.fill(complete=False)
    process = killing.while_training(case.sweep, case.root, case.rng)
    time.sleep(case.rng.uniform(0.0, 0.3))
    _kill(case, process)
    case.note("while a job was trained")


def _kill(case: Case, process: subprocess.Popen[bytes]) -> None:
    """SIGKILL of a command with its workers, or of it alone, which must end them."""
    if case.rng.random() < 0.5:
        killing.kill(process)
        return
    mine = killing.workers(process)
    process.kill()
    process.wait()
    _expect_end(case, mine)


def _expect_end(case: Case, mine: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(mine, timeout=60)
    case.wrong += [f"worker {worker.pid} outlives its command" for worker in alive]


def one_worker_killed(case: Case) -> None:
    """SIGKILL of one worker; its command goes on."""
    case.fill(complete=False)
    process = killing.while_training(case.sweep, case.root, case.rng)
    mine = wait_for(lambda: killing.workers(process), process)
    case.rng.choice(mine).kill()
    case.note("while a job was trained")
    _ends(case, process, 0)


def ended_by_signal(number: signal.Signals) -> Callable[[Case], None]:
    """A signal to the command alone, which breaks off cleanly."""

    def disturb(case: Case) -> None:
        case.fill(complete=False)
        process = killing.while_training(case.sweep, case.root, case.rng)
        mine = killing.workers(process)
        process.send_signal(number)
        _ends(case, process, 130)
        _expect_end(case, mine)
        case.note("while a job was trained")

    return disturb


def suspended(with_lock: bool) -> Callable[[Case], None]:
    """SIGSTOP of a worker; a second command says so, and the first goes on or is killed."""

    def disturb(case: Case) -> None:
        case.fill(complete=False)
        process = killing.while_training(case.sweep, case.root, case.rng, at_most=1)
        if with_lock:
            worker = killing.suspend_with_lock(case.sweep, case.root, process)
        else:
            worker = _suspend_at_work(case, process)
        case.before = end_state.finished(case.folder)
        case.lost = case.sweep.running(case.root)
        _second_command(case, process, worker)

    return disturb


def _suspend_at_work(case: Case, process: subprocess.Popen[bytes]) -> psutil.Process:
    """Suspend a worker that trains a job and holds no lock."""
    while True:
        for worker in killing.workers(process):
            worker.suspend()
            leases = (case.folder / "leases").glob("[0-9]*.json")
            owners = [((read_json(p) or {}).get("worker") or {}).get("pid") for p in leases]
            free = killing.holder(case.folder / ".sweep.lock") != worker.pid
            if worker.pid in owners and free:
                return worker
            worker.resume()
        assert process.poll() is None


def _second_command(case: Case, process: subprocess.Popen[bytes], worker: psutil.Process) -> None:
    """Give the command again beside a suspended worker of the first; then let that go on or end."""
    start, log = time.monotonic(), killing.log_of(case.root, "second")
    second = case.sweep.start(case.root, name="second")
    advice = f"kill -CONT {worker.pid}"
    wait_for(lambda: advice in log.read_text(), second, SAID_SECONDS)
    said = time.monotonic() - start
    if case.rng.random() < 0.5:
        worker.resume()
        words = "resumed"
        _ends(case, process, 0)
    else:
        killing.kill(process)
        words = "killed"
    case.words = f"said after {said:.0f} s, then {words}"
    _ends(case, second, 0)


def _ends(case: Case, process: subprocess.Popen[bytes], code: int) -> None:
    found = process.wait(timeout=600)
    if found != code:
        case.wrong.append(f"a command ended with {found} in place of {code}")


PARTS = (
    *("jobs", "jobs/N", "jobs/N/seed_S", "jobs/N/config.yaml", "jobs/N/job.json"),
    *("jobs/N/seed_S/result.json", "jobs/N/seed_S/head.safetensors", "jobs/N/seed_S/history.csv"),
    *("spec.yaml", "leases", "attempts", "logs", "command.txt"),
    *("../../cache", "../../cache/features", "../../mlflow.db", "../../mlartifacts"),
)
OF_SEARCH = ("jobs/N/outcome.json", "journal.log")


def deleted(case: Case) -> None:
    """Deletion of a part below the root, of a finished or of a killed sweep."""
    _begin_damage(case)
    path, damaged = _part(case, PARTS)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    case.note(f"{path.relative_to(case.root)}", damaged)


def cut(case: Case) -> None:
    """A file cut in half, as by a crash of the machine."""
    _begin_damage(case)
    path, damaged = _part(case, [*PARTS, "../../cache/features/*/*"], files=True)
    os.truncate(path, path.stat().st_size // 2)
    case.note(f"{path.relative_to(case.root)}", damaged)


def deleted_while_training(case: Case) -> None:
    """Deletion of a part below the root while the command trains; it need not end well."""
    case.fill(complete=False)
    process = killing.while_training(case.sweep, case.root, case.rng)
    path, damaged = _part(case, PARTS)
    case.note(f"{path.relative_to(case.root)}", damaged)
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    code = process.wait(timeout=600)
    case.words += f" (ended with {code})"


def _begin_damage(case: Case) -> None:
    """A finished sweep, or one time in three one that was killed."""
    if case.rng.random() < 2 / 3:
        case.fill()
        case.words = "finished"
    else:
        killed_at_any_time(case)
        case.words = "killed"


def _part(
    case: Case, parts: "list[str] | tuple[str, ...]", files: bool = False
) -> tuple[Path, set[int]]:
    """A part of a sweep that is there, and the jobs that are damaged with it."""
    parts = [*parts, *(OF_SEARCH if case.sweep is killing.SEARCH else ())]
    case.rng.shuffle(parts)
    for part in parts:
        pattern = part.replace("N", "[0-9]*").replace("S", "[0-9]*")
        found = sorted(p for p in case.folder.glob(pattern) if p.is_file() or not files)
        if found:
            path = case.rng.choice(found).resolve()
            job = path.relative_to(case.root).parts[2:4]
            if job[:1] != ("jobs",):
                return path, set()
            return path, {int(job[1])} if job[1:] else {*range(case.sweep.jobs)}
    raise AssertionError("nothing is there")


def moved(case: Case) -> None:
    """The root at another place, of a finished or of a killed sweep."""
    _begin_damage(case)
    target = case.root.with_name(f"{case.root.name}-moved")
    case.root.rename(target)
    killing.log_of(case.root).touch()
    killing.log_of(case.root).rename(killing.log_of(target))
    case.root = target
    case.note("moved")


def copied(case: Case) -> None:
    """A copy of the root; both go on."""
    _begin_damage(case)
    target = case.root.with_name(f"{case.root.name}-copied")
    shutil.copytree(case.root, target)
    twin = Case(case.sweep, target, case.reference, case.rng)
    twin.note("")
    twin.lost |= case.lost
    twin.judge()
    case.wrong += [f"the copy: {line}" for line in twin.wrong]
    case.note("copied")


def server_killed(case: Case) -> None:
    """SIGKILL of a real MLflow server in the midst of a sync; the next command has it again."""
    case.fill()
    folder, port = case.root.with_name(f"{case.root.name}-server"), free_port()
    case.database = folder / "server.db"
    case.more = (f"tracking_uri=http://127.0.0.1:{port}",)
    number = case.rng.randint(3, 30)
    with mlflow_server(folder, port) as running:
        with killing.writes(folder, killing.FLAGS.DELETE, "server.db-journal") as seen:
            left = number
            process = case.sweep.start(case.root, *case.more)
            while left > 0:
                assert process.poll() is None, "ended before the kill"
                left -= seen()
        killing.kill(running)
    died = time.monotonic()
    _ends(case, process, 0)
    took = time.monotonic() - died
    log = killing.log_of(case.root).read_text()
    said = Counter(re.findall(r"`headsweep sync (\S+)", log))
    # Of each sweep once while it trains, and at its end if the server then fails in other words.
    if not 1 <= said[case.sweep.name] <= max(said.values()) <= 2 or took > SERVER_SECONDS:
        case.wrong.append(f"after the server's death: {took:.0f} s, {said}")
    case.note(f"write {number} of the server")
    case.stack.enter_context(mlflow_server(folder, port))
