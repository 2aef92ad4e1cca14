"""Kills a search with SIGKILL again and again, and compares it with one that nobody touched.

``make killmatrix`` is all of it; the suite kills twice. Half of the kills come within 5 ms
after the n-th write of one kind, n and the kind random; half at a random time after the first trial
has begun. What is written is seen from outside, by inotify: nothing of headsweep is changed for it.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import inotify_simple
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from helpers.waiting import wait_for

BIN = Path(sys.executable).parent
TRIALS = 15
SEARCH = [
    *("data=tiny", "data.source.events=100", "backbone=truth", "sweeps=search", "workers=2"),
    *("optim.steps=120", "optim.batch_size=16", "seeds=2", f"hydra.sweeper.n_trials={TRIALS}"),
    *("hydra.sweeper.pruner.n_startup_trials=4", "hydra.sweeper.pruner.n_warmup_steps=10"),
    "hydra.sweeper.sampler.n_startup_trials=6",
    "head.regression_hidden_dim=int(interval(8, 64))",
]
KINDS = ("journal append", "result rename", "MLflow commit")
DELAY = 0.003  # and two for the kill itself
FLAGS = inotify_simple.flags


@dataclass
class Tally:
    """What the kills hit."""

    kinds: Counter[str] = field(default_factory=Counter)
    live: int = 0
    latest: float = 0.0

    @property
    def kills(self) -> int:
        return sum(self.kinds.values())


def start(root: Path, *more: str) -> subprocess.Popen[bytes]:
    """Begin the search, or go on with it, in a process group of its own."""
    return subprocess.Popen(
        [BIN / "headsweep", "train", *SEARCH, f"root={root}", *more],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def run_to_the_end(root: Path, *more: str) -> None:
    process = start(root, *more)
    assert process.wait(timeout=600) == 0


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the command and all its workers."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def begun(root: Path) -> bool:
    """Whether a trial is being trained."""
    return any((root / "sweeps/search/attempts").glob("*/progress.json"))


def is_live(root: Path) -> bool:
    """Whether a killed search has left a trial that was being trained."""
    folder = root / "sweeps/search"
    leases = [json.loads(p.read_bytes()) for p in (folder / "leases").glob("[0-9]*.json")]
    return any(
        lease["worker"] and not (folder / f"jobs/{lease['number']}/outcome.json").exists()
        for lease in leases
    )


def kill_after_write(root: Path, rng: random.Random, kind: str) -> float | None:
    """Kill just after the n-th write of a kind; seconds since it, None if the search ended."""
    folder = root / "sweeps/search"
    (folder / "jobs").mkdir(parents=True, exist_ok=True)
    with inotify_simple.INotify() as watch:
        names: dict[int, str] = {}
        names[watch.add_watch(folder, FLAGS.MODIFY)] = "journal.log"
        names[watch.add_watch(folder / "jobs", FLAGS.MOVED_TO)] = ""
        names[watch.add_watch(root, FLAGS.DELETE)] = "mlflow.db-journal"
        kinds = dict(zip(names, KINDS, strict=True))
        process, left = start(root), rng.randint(1, 5)
        while process.poll() is None:
            for event in watch.read(timeout=100):
                ours = names[event.wd] in ("", event.name) and kinds[event.wd] == kind
                left -= ours
                if ours and left <= 0 and process.poll() is None:
                    written = time.monotonic()
                    time.sleep(rng.uniform(0, DELAY))
                    os.killpg(process.pid, signal.SIGKILL)
                    late = time.monotonic() - written
                    process.wait()
                    return late
    return None


def kill_at_random_time(root: Path, rng: random.Random) -> bool:
    """Kill a while after the first trial has begun; False if the search ended before."""
    process = start(root)
    wait_for(lambda: begun(root) or process.poll() is not None)
    try:
        process.wait(timeout=rng.uniform(0.0, 4.0))
    except subprocess.TimeoutExpired:
        kill(process)
        return True
    return False


def torment(root: Path, kills: int, rng: random.Random, tally: Tally) -> None:
    """Kill a search a number of times, or until it is over, and let it end."""
    for number in range(kills):
        if number % 2:
            kind = rng.choice(KINDS)
            delay = kill_after_write(root, rng, kind)
            hit, late = delay is not None, delay or 0.0
        else:
            kind, late = "random time", 0.0
            hit = kill_at_random_time(root, rng)
        if not hit:
            break
        tally.kinds[kind] += 1
        tally.live += is_live(root)
        tally.latest = max(tally.latest, late)
    run_to_the_end(root)


def trials(root: Path) -> list[tuple[Any, ...]]:
    """What the study holds of each trial."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    backend = JournalFileBackend(str(root / "sweeps/search/journal.log"))
    study = optuna.load_study(study_name="search", storage=JournalStorage(backend))
    return [
        (t.number, t.state.name, t.params, t.values, t.intermediate_values, t.user_attrs)
        for t in study.trials
    ]


def hashes(root: Path) -> dict[str, str]:
    """Hash of every file of every trial, without times and places."""
    folder, found = root / "sweeps/search", {}
    times = {"seconds": 0, "ended": 0, "sha256": ""}
    for path in sorted(folder.glob("jobs/**/*")):
        if path.is_file():
            content = path.read_bytes()
            if path.name == "result.json":
                content = json.dumps(json.loads(content) | times).encode()
            if path.name == "job.json":
                content = json.dumps(
                    json.loads(content) | {"code_version": "", "sha256": ""}
                ).encode()
            if path.name == "config.yaml":
                content = content.replace(str(root).encode(), b"").rpartition(b"# sha256")[0]
            found[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return found


def tracked(root: Path) -> list[tuple[str, str]]:
    """Name and status of every run in MLflow that is not deleted."""
    query = "select name, status from runs where lifecycle_stage = 'active' order by name"
    with closing(sqlite3.connect(root / "mlflow.db")) as connection:
        return [(name, status) for name, status in connection.execute(query)]


def differences(reference: Path, other: Path) -> list[str]:
    """What differs between two searches; nothing is the aim."""
    found = [
        f"{name} differ: {a} / {b}"
        for name, a, b in zip(
            ("trials", "runs in MLflow"),
            (trials(reference), tracked(reference)),
            (trials(other), tracked(other)),
            strict=True,
        )
        if a != b
    ]
    ours, theirs = hashes(reference), hashes(other)
    found += [f"{k} differs" for k in {*ours, *theirs} if ours.get(k) != theirs.get(k)]
    found += [f"run {name} is RUNNING" for name, status in tracked(other) if status == "RUNNING"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--per-study", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, tally, wrong, studies = random.Random(arguments.seed), Tally(), 0, 0
    with TemporaryDirectory() as folder:
        reference = Path(folder) / "reference"
        run_to_the_end(reference)
        while tally.kills < arguments.kills:
            studies += 1
            root = Path(folder) / f"killed-{studies}"
            torment(root, min(arguments.per_study, arguments.kills - tally.kills), rng, tally)
            found = differences(reference, root)
            wrong += bool(found)
            print(
                f"study {studies}: {tally.kills} kills so far, {len(found)} differences", flush=True
            )
            for line in found:
                print(f"  {line}")
    print(f"{tally.kills} kills: {dict(tally.kinds)}; {tally.live} during a live trial")
    print(f"latest kill {1000 * tally.latest:.1f} ms after its write")
    print(
        f"{studies} studies of {TRIALS} trials, {wrong} of them differ from the uninterrupted one"
    )
    sys.exit(bool(wrong) or tally.live < 0.8 * tally.kills)


if __name__ == "__main__":
    main()
