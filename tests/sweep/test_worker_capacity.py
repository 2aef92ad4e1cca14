"""``worker.capacity``: jobs that are trained as one stack leave what they leave alone."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from headsweep.store.outcome import Outcome
from headsweep.sweep import stack, worker
from headsweep.sweep.stack import Part
from helpers.command import SMALL, Command, work_here
from helpers.end_state import hashes, trials
from helpers.trouble_head import write_trouble

pytestmark = pytest.mark.slow

STEPS = ["optim.steps=24", "optim.schedule=constant", "tracking=false"]


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of jobs of each stack that the worker, in this process, trains."""
    found, train = [], stack.train_together

    def told(parts: Sequence[Part]) -> Iterator[int]:
        found.append(len(parts))
        return train(parts)

    monkeypatch.setattr(worker, "train_together", told)
    work_here(monkeypatch)
    return found


def left(sweep: Path) -> dict[str, str]:
    """All that its jobs left, but for the capacity itself in their configurations."""
    return {name: digest for name, digest in hashes(sweep).items() if "config.yaml" not in name}


def run(command: Command, name: str, capacity: int, *overrides: str) -> Path:
    arguments = [*SMALL, *STEPS, *overrides, f"name=s{name}", f"root=root{name}"]
    code, _, err = command("train", "-m", *arguments, f"worker.capacity={capacity}")
    assert code == 0, err
    return Path(f"root{name}/sweeps/s{name}").resolve()


def test_a_grid_is_the_same_at_any_capacity(command: Command, sizes: list[int]) -> None:
    """Of two shapes, six jobs each."""
    grid = [
        *("head=simpler,conservative", "optim.lr=0.01,0.03,0.1", "head.dropout=0.0,0.2"),
        *("seeds=2", "optim.weight_decay=0.3"),
    ]
    alone = run(command, "one", 1, *grid)
    assert sizes == [1] * 12
    sizes.clear()
    stacked = run(command, "four", 4, *grid)
    assert sizes == [4, 2, 4, 2]
    assert left(alone) == left(stacked)
    assert len(left(alone)) > 12 * 2 * 4


def test_a_search_is_the_same_at_any_capacity(command: Command, sizes: list[int]) -> None:
    """With pruned trials, and proposals that depend on what came out before."""
    search = [
        *("hydra.sweeper.n_trials=14", "hydra.sweeper.lag=3", "optim.steps=60"),
        *("optim.lr=tag(log,interval(0.001,1))", "head.dropout=interval(0,0.5)"),
        *("optim.weight_decay=tag(log,interval(0.001,1))", "head=simpler"),
        *("hydra/sweeper/sampler=tpe", "hydra.sweeper.sampler.n_startup_trials=4"),
        *("hydra/sweeper/pruner=median", "hydra.sweeper.pruner.n_startup_trials=3"),
    ]
    alone = run(command, "one", 1, *search)
    sizes.clear()
    stacked = run(command, "four", 4, *search)
    assert max(sizes) == 4
    found = [named(trial) for trial in trials(alone)]
    assert found == [named(trial) for trial in trials(stacked)]
    assert {"PRUNED", "COMPLETE"} == {trial[1] for trial in found}
    assert left(alone) == left(stacked)


def named(trial: tuple[Any, ...]) -> tuple[Any, ...]:
    """A trial with its seeds as plain text, whose order in a mapping does not matter."""
    return json.loads(json.dumps(trial, sort_keys=True))


def test_every_worker_has_its_share(command: Command, sizes: list[int]) -> None:
    run(command, "two", 8, "optim.lr=0.01,0.02,0.03,0.04,0.05", "workers=2")
    assert sizes == [3, 1, 1]


def test_an_error_in_a_stack_ends_its_own_job_alone(
    command: Command, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = stack._write_member

    def broken(folder: Path, *rest: Any) -> None:
        if folder.name.startswith("1-"):
            raise RuntimeError("no such tensor")
        write(folder, *rest)

    monkeypatch.setattr(stack, "_write_member", broken)
    arguments = [*SMALL, *STEPS, "name=s", "root=root", "worker.capacity=3"]
    code, out, err = command("train", "-m", *arguments, "optim.lr=0.01,0.02,0.03")
    assert code == 1
    assert sizes == [3, 1, 1]
    assert "2 of 3 members are done" in out
    assert "job 1 optim.lr=0.02: RuntimeError: no such tensor" in err


def test_a_head_that_always_raises_fails_every_job_of_its_stack(
    command: Command, sizes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    arguments = [*write_trouble(tmp_path), *SMALL, "name=s", "root=root", "worker.capacity=3"]
    code, _, _ = command("train", "-m", *arguments, "head.mode=raises", "optim.lr=0.01,0.02")
    assert code == 1
    assert sizes == [2, 1, 1]
    for number in range(2):
        outcome = Outcome.read(tmp_path / f"root/sweeps/s/jobs/{number}")
        assert outcome is not None
        assert outcome.reason == "RuntimeError: no such tensor"


def test_the_time_of_a_stack_is_that_of_all_its_jobs(
    command: Command, sizes: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    arguments = [*write_trouble(tmp_path), *SMALL, "name=s", "root=root", "worker.capacity=3"]
    sleeps = ["head.mode=sleeps", "optim.lr=0.01,0.02", "worker.time_limit=1"]
    code, _, err = command("train", "-m", *arguments, *sleeps)
    assert code == 1
    assert sizes == [2, 1, 1]
    assert err.count("took longer than worker.time_limit=1 s") == 2
