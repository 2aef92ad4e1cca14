"""What a trial costs beside its training: our sweeper against the official one.

``python benchmarks/overhead/run.py`` runs trivial trials with both, in alternating blocks, and
splits the time between them. The split comes from wrapping functions from outside.
"""

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

PARTS = ("training", "compose", "optuna", "journal", "mlflow", "folders", "other")
WORDS = {
    "training": "Training: features from the cache, fit",
    "compose": "Hydra: composing, validating",
    "optuna": "Optuna: replica, suggest, report, tell",
    "journal": "Optuna's journal file, with fsync",
    "mlflow": "MLflow",
    "folders": "Folders: writing with fsync, leases, keys",
    "other": "Everything else",
}
TASK = [
    *("data=tiny", "data.source.events=100", "backbone=truth", "sweeps=search", "workers=1"),
    *("optim.steps=1", "optim.batch_size=16"),
]
OFFICIAL = ["hydra/sweeper=optuna", "hydra.sweeper.n_jobs=1"]
BUDGET = 0.1
"""Seconds that a trial with one seed may cost beside its training."""
SHARE = 0.05
"""Of a default trial's time, the same."""


class Clock:
    """Times the parts of each trial; a part within another counts for itself alone.

    Args:
        file: Where a line for each trial goes.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.thread = threading.current_thread()
        self.open: list[str] = []
        self.since = (0.0, 0.0)
        self.spent: dict[str, list[float]] = {}

    def begin(self) -> None:
        """A trial begins, and the one before it ends."""
        self.end()
        self.spent = {part: [0.0, 0.0] for part in PARTS}
        self.open, self.since = ["other"], _now()

    def end(self) -> None:
        """The last trial ends."""
        if self.spent:
            self._settle()
            with self.file.open("a") as file:
                file.write(f"{json.dumps(self.spent)}\n")
            self.spent = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count a block for a part."""
        if not self.spent or threading.current_thread() is not self.thread:
            yield
            return
        self._settle()
        self.open.append(name)
        try:
            yield
        finally:
            if self.spent:
                self._settle()
                self.open.pop()

    def _settle(self) -> None:
        now = _now()
        spent = self.spent[self.open[-1]]
        spent[0] += now[0] - self.since[0]
        spent[1] += now[1] - self.since[1]
        self.since = now

    def wrap(self, owner: Any, names: str, part: str) -> None:
        """Count calls of some functions of a module or class for a part."""
        for name in names.split():
            _replace(owner, name, lambda call: self._timed(call, part))

    def _timed(self, call: Callable[..., Any], part: str) -> Callable[..., Any]:
        def timed(*arguments: Any, **more: Any) -> Any:
            with self.part(part):
                return call(*arguments, **more)

        return timed


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.thread_time()


def _replace(owner: Any, name: str, change: Callable[..., Any]) -> None:
    original = getattr(owner, name)
    setattr(owner, name, functools.wraps(original)(change(original)))


def wrap_job(clock: Clock) -> None:
    """Both sweepers train with these."""
    from headsweep.store import runs
    from headsweep.sweep import stack
    from headsweep.training import loop, loss

    clock.wrap(loop._Fit, "__init__ step evaluate score", "training")
    clock.wrap(loop.Split, "of", "training")
    clock.wrap(loss.Loss, "fit", "training")
    clock.wrap(stack, "build_features _about _write_member", "folders")
    clock.wrap(runs, "write_job write_member write_progress read_results", "folders")


def worker(file: Path) -> None:
    """Our worker, as ``headsweep.sweep.worker`` is started by the sweep command."""
    from filelock import FileLock
    from optuna.storages.journal import JournalFileBackend

    from headsweep.store import outcome
    from headsweep.sweep import compose, leases
    from headsweep.sweep import worker as ours
    from headsweep.sweep.search import queue, storage

    clock = Clock(file)
    wrap_job(clock)
    clock.wrap(compose.Sweep, "compose", "compose")
    clock.wrap(queue.SearchQueue, "take hand_in", "optuna")
    clock.wrap(ours._Watch, "evaluation outcome", "optuna")
    clock.wrap(JournalFileBackend, "append_logs read_logs", "journal")
    clock.wrap(storage.Storage, "repair", "journal")
    clock.wrap(ours, "find_inputs", "folders")
    clock.wrap(leases.Leases, "claim is_mine remove read", "folders")
    clock.wrap(queue, "move new_attempt", "folders")
    clock.wrap(outcome.Outcome, "write read", "folders")
    clock.wrap(FileLock, "acquire release", "folders")

    def count(take: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            clock.begin()
            return take(*arguments)

        return counted

    _replace(queue.SearchQueue, "take", count)
    ours.main()


def command(file: Path, official: bool, arguments: list[str]) -> None:
    """The sweep command, of which the official sweeper is a part."""
    if official:
        official_sweeper(Clock(file))
    else:
        from headsweep.sweep import worker_pool

        started = SimpleNamespace(**{**vars(subprocess), "Popen": _our_worker(file)})
        setattr(worker_pool, "subprocess", started)  # noqa: B010
        _follow_mlflow(file.with_suffix(".mlflow"))
    sys.argv = ["headsweep", "train", *arguments]
    from headsweep.cli import main

    main()


def _our_worker(file: Path) -> Callable[..., Any]:
    """Starts a worker with its parts wrapped, in place of a plain one."""

    def start(arguments: list[str], **more: Any) -> Any:
        assert arguments[1:] == ["-m", "headsweep.sweep.worker"]
        return subprocess.Popen([sys.executable, __file__, "--as-worker", str(file)], **more)

    return start


def _follow_mlflow(file: Path) -> None:
    """Note what each copying to MLflow takes, which happens beside the trials, and its trials."""
    from headsweep.store.tracking import mlflow_client, tracker

    created = 0

    def count(create: Callable[..., str]) -> Callable[..., str]:
        def counted(*arguments: Any) -> str:
            nonlocal created
            created += 1
            return create(*arguments)

        return counted

    def time_calls(sync: Callable[..., None]) -> Callable[..., None]:
        def timed(*arguments: Any) -> None:
            before, known = _now(), created
            sync(*arguments)
            spent = [now - then for now, then in zip(_now(), before, strict=True)]
            with file.open("a") as out:
                out.write(f"{json.dumps([*spent, created - known])}\n")

        return timed

    _replace(mlflow_client.Experiment, "_create", count)
    _replace(tracker, "sync_sweep", time_calls)


def official_sweeper(clock: Clock) -> None:
    """Hydra's Optuna sweeper, in its default storage (memory)."""
    import optuna
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.core_plugins import basic_launcher
    from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl

    from headsweep.store.tracking import sync
    from headsweep.sweep import plan

    wrap_job(clock)
    clock.wrap(ConfigLoaderImpl, "load_sweep_config", "compose")
    clock.wrap(plan, "validate", "compose")
    clock.wrap(basic_launcher.BasicLauncher, "launch", "compose")
    clock.wrap(OptunaSweeperImpl, "_configure_trials", "optuna")
    clock.wrap(optuna.Study, "ask tell", "optuna")
    clock.wrap(sync, "sync_job", "mlflow")

    def count(ask: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            clock.begin()
            return ask(*arguments)

        return counted

    def ended(sweep: Callable[..., Any]) -> Callable[..., Any]:
        def swept(*arguments: Any) -> Any:
            sweep(*arguments)
            clock.end()

        return swept

    _replace(optuna.Study, "ask", count)
    _replace(OptunaSweeperImpl, "sweep", ended)


class Blocks:
    """Runs commands, and keeps what they measured.

    Args:
        folder: Where they run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trials: dict[str, list[dict[str, list[float]]]] = {}
        self.beside: dict[str, list[tuple[float, float]]] = {}

    def run(self, name: str, block: int, trials: int, official: bool, seeds: int) -> None:
        """Run one block; its first trial and copying, which load and compile, do not count."""
        file = self.folder / f"{name}-{block}.jsonl"
        target = [f"name={name}-{block}" if official else f"name={name}", f"seeds={seeds}"]
        target.append(f"hydra.sweeper.n_trials={trials if official else trials * (block + 1)}")
        arguments = [*TASK, *(OFFICIAL if official else []), *target]
        how = "--as-official" if official else "--as-command"
        subprocess.run(
            [sys.executable, __file__, how, str(file), *arguments],
            cwd=self.folder,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        self.trials.setdefault(name, []).extend(lines[1:trials])
        beside = file.with_suffix(".mlflow")
        if beside.exists():
            calls = [json.loads(line) for line in beside.read_text().splitlines()]
            clock, processor, created = (sum(column) for column in zip(*calls[1:], strict=True))
            self.beside.setdefault(name, []).append((clock / created, processor / created))

    def costs(self, name: str) -> dict[str, tuple[float, float]]:
        """Median seconds of each part over the trials, on the clock and of the processor."""
        found = {
            part: tuple(
                statistics.median(trial[part][i] for trial in self.trials[name]) for i in (0, 1)
            )
            for part in PARTS
        }
        if name in self.beside:
            found["mlflow"] = tuple(
                statistics.median(values) for values in zip(*self.beside[name], strict=True)
            )
        return {part: (values[0], values[1]) for part, values in found.items()}


def table(ours: Mapping[str, tuple[float, float]], other: Mapping[str, tuple[float, float]]) -> str:
    """The parts of a trial in milliseconds, as Markdown."""

    def row(name: str, *costs: tuple[float, float]) -> str:
        return f"| {name} | {' | '.join(f'{1000 * t:.1f} | {1000 * c:.1f}' for t, c in costs)} |"

    lines = ["| ms a trial | ours | its CPU | official | its CPU |", "|---|---:|---:|---:|---:|"]
    lines += [row(WORDS[part], ours[part], other[part]) for part in PARTS]
    lines.append(row("**All but training**", beside_training(ours), beside_training(other)))
    return "\n".join(lines)


def beside_training(costs: Mapping[str, tuple[float, float]]) -> tuple[float, float]:
    """Sum of all parts but the training."""
    parts = [costs[part] for part in PARTS if part != "training"]
    return sum(part[0] for part in parts), sum(part[1] for part in parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--default-seconds", type=float, default=25.0, help="of a default trial")
    arguments = parser.parse_args()
    size = arguments.trials // arguments.blocks
    with TemporaryDirectory() as folder:
        blocks = Blocks(Path(folder))
        for block in range(arguments.blocks):
            for name in ("ours", "official") if block % 2 else ("official", "ours"):
                blocks.run(name, block, size, official=name == "official", seeds=1)
            load = os.getloadavg()[0]
            print(f"block {block + 1} of {arguments.blocks}: load {load:.1f}", flush=True)
        blocks.run("three", 0, size, official=False, seeds=3)
    ours, official = blocks.costs("ours"), blocks.costs("official")
    print(table(ours, official))
    cost = beside_training(ours)[0]
    print(f"seeds: 1: {1000 * cost:.0f} ms a trial; the goal is {1000 * BUDGET:.0f}")
    default = beside_training(blocks.costs("three"))[0]
    share = default / arguments.default_seconds
    print(
        f"seeds: 3: {1000 * default:.0f} ms, {share:.1%} of a default trial of "
        f"{arguments.default_seconds:.0f} s; the goal is {SHARE:.0%}"
    )
    sys.exit(cost > BUDGET or share > SHARE)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--as-worker", where]:
            worker(Path(where))
        case ["--as-command" | "--as-official" as how, where, *overrides]:
            command(Path(where), how == "--as-official", overrides)
        case _:
            main()
