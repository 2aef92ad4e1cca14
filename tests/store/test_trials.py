"""What is said of a search, and how far a sweep is: read from folders that may change meanwhile."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from headsweep.errors import UserError
from headsweep.identity import member_key
from headsweep.store.outcome import Outcome, best_trials
from headsweep.store.runs import SCHEMA, write_progress
from headsweep.store.trials import Finished, describe, failures, time_left, usable
from headsweep.sweep.grid_queue import Entry, GridQueue
from headsweep.sweep.leases import Leases
from headsweep.sweep.progress import GridProgress, running
from headsweep.sweep.queue import Task
from headsweep.sweep.search.progress import SearchProgress
from headsweep.sweep.search.queue import SearchQueue, tell
from headsweep.sweep.search.rules import Search
from headsweep.sweep.search.status import print_study
from helpers.killable import Killed, World, world, write_result

SEARCH = Search(
    space={"optim.lr": FloatDistribution(0.0, 1.0)},
    fixed=[],
    objectives=["val_qoverpt_r68"],
    sampler={"_target_": "optuna.samplers.RandomSampler"},
    pruner=None,
    custom=None,
    seed=0,
    lag=0,
    n_trials=4,
    max_failures=2,
    storage=None,
)
DIRECTIONS = ("minimize", "maximize")


def outcome(*values: float, state: str = "complete") -> Outcome:
    return Outcome(state, values=list(values), params={"optim.lr": 0.123456})


# --- the best


def front(values: Sequence[Sequence[float]], directions: Sequence[str]) -> set[int]:
    """By the definition: nobody is as good in everything and better in something."""
    signs = np.array([1 if direction == "minimize" else -1 for direction in directions])
    costs = np.array(values).reshape(len(values), len(signs)) * signs
    return {
        i
        for i, cost in enumerate(costs)
        if not any((other <= cost).all() and (other < cost).any() for other in costs)
    }


COLUMNS = st.integers(1, 3).flatmap(
    lambda size: st.tuples(
        st.lists(st.sampled_from(DIRECTIONS), min_size=size, max_size=size),
        st.lists(st.lists(st.integers(0, 4).map(float), min_size=size, max_size=size), max_size=12),
    )
)


@given(COLUMNS)
def test_the_best_are_the_pareto_front_or_in_order(
    case: tuple[list[str], list[list[float]]],
) -> None:
    directions, values = case
    found = best_trials(dict(enumerate(outcome(*row) for row in values)), directions)
    assert len(set(found)) == len(found)
    if len(directions) > 1:
        assert set(found) == front(values, directions)
        study = optuna.create_study(directions=directions)
        for row in values:
            study.add_trial(optuna.trial.create_trial(values=row))
        assert set(found) == {trial.number for trial in study.best_trials}
    else:
        sign = 1 if directions == ["minimize"] else -1
        assert found == sorted(range(len(values)), key=lambda i: (sign * values[i][0], i))


def test_only_complete_trials_are_good() -> None:
    outcomes = {
        0: outcome(5.0),
        1: outcome(1.0, state="pruned"),
        2: outcome(state="failed"),
        3: outcome(4.0),
    }
    assert best_trials(outcomes, ["minimize"]) == [3, 0]
    assert best_trials(outcomes, ["maximize"]) == [0, 3]
    assert best_trials({1: outcomes[1]}, ["minimize"]) == []
    assert usable(outcomes) == "usable: 3 of 4 (1 pruned), 1 failed"
    assert usable({}) == "usable: 0 of 0"
    assert failures({2: Outcome("failed", "why")}) == ["trial 2 failed: why"]


def test_a_trial_as_words() -> None:
    found = Outcome(
        "complete", values=[0.123456789, 1000], spread=[0.01, 0.0], params={"a": 1e-5, "head": "x"}
    )
    words = "trial 3: val_qoverpt_r68 0.123457 +- 0.0100, params_total 1000 with a=1e-05, head=x"
    assert describe(3, found, ["val_qoverpt_r68", "params_total"]) == words


# --- how far it is


def open_queue(here: World, search: Search = SEARCH) -> SearchQueue:
    return SearchQueue(here.folder, search, here.leases().leases, 2, lambda _: {})


def take(queue: SearchQueue) -> Task:
    task = queue.take()
    assert isinstance(task, Task)
    return task


def end(task: Task, state: str = "complete") -> Outcome:
    """Train, with the learning rate for a result."""
    assert task.trial is not None
    params: dict[str, Any] = dict(task.trial.params)
    values = [params["optim.lr"]] if state == "complete" else []
    attrs = tell(task.trial, state, values)
    write_progress(task.folder, {"step": 5, "steps": 10, "val": None})
    reason = None if state == "complete" else "broken data"
    return Outcome(state, reason, values, params=params, attrs=attrs)


def work(queue: SearchQueue, trials: int, state: str = "complete") -> None:
    for _ in range(trials):
        task = take(queue)
        assert queue.hand_in(task, end(task, state))


def test_outcomes_are_found_when_they_are_there() -> None:
    with world() as here:
        finished = Finished(here.folder)
        assert finished.read() == {}
        work(open_queue(here), 2)
        assert list(finished.read()) == [0, 1]
        (here.folder / "jobs/0/outcome.json").unlink()  # each is read once
        assert list(finished.read()) == [0, 1]
        (here.folder / "jobs/10").mkdir()
        assert list(Finished(here.folder).read()) == [1]


def test_the_state_of_a_search(capsys: pytest.CaptureFixture[str]) -> None:
    with world() as here:
        work(open_queue(here), 2)
        queue = open_queue(here)
        state = SearchProgress(queue)
        assert state.left() == 2
        work(queue, 1, "failed")
        task = take(queue)
        write_progress(task.folder, {"step": 5, "steps": 10, "val": 0.5})
        looked = state.state()
        best = min(Finished(here.folder).read()[n].values[0] for n in (0, 1))
        assert looked.summary.startswith(f"3 of 4 trials, best {best:.4f} (trial ")
        assert looked.share == (3 + 0.5) / 4
        assert looked.running == ["trial 3: step 5 of 10, val r68 0.500"]
        assert state.words() == "3 of 4 trials are done, 2 were there before"
        assert state.left() == 1
        assert queue.hand_in(task, end(task))
        assert state.conclude() == 0
        assert state.left() == 0
        out, err = capsys.readouterr()
        assert "usable: 3 of 4, 1 failed" in out
        assert out.count("best: trial ") == 1
        assert out.endswith("more: headsweep study s\n")
        assert err == "trial 2 failed: broken data\n"


def test_a_search_that_only_fails_says_why_it_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    with world() as here:
        work(open_queue(here), 2, "failed")
        state = SearchProgress(open_queue(here))  # of the command, which takes nothing itself
        assert state.conclude() == 1
        err = capsys.readouterr().err
        assert "stopped: trials 0 to 1 failed, 2 in a row." in err
        assert "max_failures=null" in err


def test_what_a_kill_left_untold_is_still_to_be_done() -> None:
    """Or the command would end at once, and the last trial stay RUNNING for ever."""
    with world() as here:
        work(open_queue(here), 3)
        hand = here.leases()
        queue = SearchQueue(here.folder, SEARCH, hand.leases, 2, lambda _: {})
        task = take(queue)
        found = end(task)
        before = sum(1 for _ in (here.folder / "jobs").iterdir())
        for fuse in range(20):  # the first write after the folder's move
            with pytest.raises(Killed), here.fuse.lit(fuse):
                queue.hand_in(task, found)
            if sum(1 for _ in (here.folder / "jobs").iterdir()) > before:
                break
        hand.die()
        again = open_queue(here)
        state = SearchProgress(again)
        assert len(Finished(here.folder).read()) == 4
        assert [t.state for t in again.trials()][3:] == [TrialState.RUNNING]
        assert state.left() == 1
        again.take()
        assert [t.state for t in again.trials()] == [TrialState.COMPLETE] * 4
        assert state.left() == 0


def test_what_runs_is_shown_with_its_share() -> None:
    with world() as here:
        assert running(here.folder) == []
        progress = {"step": 3, "steps": 12, "val": None}
        write_progress(here.folder / "attempts/7-2", progress)
        (here.folder / "attempts/8-1").mkdir()
        assert running(here.folder) == [(7, 0.25, progress)]


def test_the_state_of_a_grid(capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [Entry([f"k={n}"], f"key{n}", [0, 1]) for n in range(3)]
    with world() as here:
        for seed in (0, 1):
            write_result(here.folder / f"jobs/0/seed_{seed}", member_key("key0", seed))
        write_result(here.folder / "jobs/1/seed_1", member_key("key1", 1))
        grid = GridQueue(here.folder, jobs, here.leases().leases, 2)
        state = GridProgress(grid, ["a", "b", ""])
        assert state.left() == 2
        write_progress(here.folder / "attempts/1-1", {"step": 5, "steps": 10, "val": None})
        looked = state.state()
        assert looked.summary == "1 of 3 jobs, 3 of 6 members done"
        assert looked.share == (3 + 0.5) / 6
        assert looked.running == ["job 1 b: step 5 of 10"]
        Outcome("failed", "no memory").write(here.folder / "jobs/2")
        assert state.words() == "3 of 6 members are done, 3 of them were there before"
        assert state.conclude() == 1
        assert capsys.readouterr().err == "job 2 : no memory\n"


def test_time_that_is_left_follows_from_what_it_took() -> None:
    with world() as here:
        outcomes = {0: outcome(1.0), 1: outcome(2.0)}
        assert time_left(here.folder, outcomes, 5) == "unknown"
        for number, seconds in ((0, 50), (1, 70)):
            for seed, share in ((0, 1.0), (1, 0.5)):  # trained together: the longest counts
                folder = here.folder / f"jobs/{number}/seed_{seed}"
                folder.mkdir(parents=True)
                result = {"schema": SCHEMA, "seconds": seconds * share}
                (folder / "result.json").write_text(json.dumps(result))
        assert time_left(here.folder, outcomes, 12) == "10 min"
        assert time_left(here.folder, outcomes, 2) == "0 s"


# --- headsweep study


def write_spec(here: World, **more: Any) -> Path:
    spec = {"search": {}, "n_trials": 4, "objective": ["val_qoverpt_r68"], **more}
    spec.setdefault("direction", ["minimize"])
    (here.folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    (here.folder / "command.txt").write_text("headsweep train sweeps=s\n")
    return here.folder.parents[1]


def test_a_search_can_be_looked_at_without_touching_it(capsys: pytest.CaptureFixture[str]) -> None:
    with world() as here:
        root = write_spec(here)
        queue = open_queue(here)
        work(queue, 2)
        work(queue, 1, "failed")
        files = {p: p.stat().st_mtime_ns for p in here.folder.rglob("*")}
        print_study(root, "s")
        assert {p: p.stat().st_mtime_ns for p in here.folder.rglob("*")} == files
        out = capsys.readouterr().out
        first, second = best_trials(Finished(here.folder).read(), ["minimize"])
        assert out.startswith("s: 3 of 4 trials are done, 0 are being trained\nusable: 2 of 3, 1 ")
        assert "best:" in out
        lines = [line.split() for line in out.splitlines()]
        rows = [int(words[0]) for words in lines if words and words[0].isdecimal()]
        assert rows == [first, second]
        assert "trial 2 failed: broken data" in out
        assert "go on with: headsweep train sweeps=s" in out
        task = take(queue)
        print_study(root, "s")
        out = capsys.readouterr().out
        assert "1 are being trained" in out
        assert "go on with" not in out
        assert queue.hand_in(task, end(task))
        print_study(root, "s")
        assert "left:" not in capsys.readouterr().out


def test_a_front_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    with world() as here:
        names = ["val_qoverpt_r68", "params_total"]
        root = write_spec(here, objective=names, direction=["minimize", "minimize"])
        for number, values in enumerate([(1.0, 5.0), (2.0, 6.0), (0.5, 9.0)]):
            outcome(*values).write(here.folder / f"jobs/{number}")
        print_study(root, "s")
        out = capsys.readouterr().out
        assert "Pareto front:" in out
        rows = [line.split()[:3] for line in out.splitlines() if line.strip()[:1].isdecimal()]
        assert rows == [["2", "0.5", "9"], ["0", "1", "5"]]


@pytest.mark.parametrize(
    ("spec", "message"), [({}, "does not exist"), ({"seeds": 1}, "is a grid; see headsweep report")]
)
def test_what_is_no_search_is_an_error(spec: dict[str, int], message: str, tmp_path: Path) -> None:
    if spec:
        (tmp_path / "sweeps/s").mkdir(parents=True)
        (tmp_path / "sweeps/s/spec.yaml").write_text(yaml.safe_dump(spec))
    with pytest.raises(UserError, match=message):
        print_study(tmp_path, "s")


def test_a_lease_of_a_dead_worker_is_not_being_trained(capsys: pytest.CaptureFixture[str]) -> None:
    with world() as here:
        root = write_spec(here)
        hand = here.leases()
        Leases(here.folder, hand.leases.worker).claim(0)
        hand.die()
        print_study(root, "s")
        assert "0 are being trained" in capsys.readouterr().out
