"""Learning rates by the tool: what is tried, what is taken, and what nothing is tried for."""

import json
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest

from headsweep.errors import UserError
from headsweep.sweep.plan import Plan, distinct, make_plan
from headsweep.sweep.rates import RateTrials, lowest
from helpers.command import SMALL, Command, times

HEADS = "head=conservative,simpler"
AUTO = ["rates=auto", "rates.seeds=2", "name=s"]
FAST = [o for o in SMALL if not o.startswith("rates=")]


def planned(*overrides: str) -> Plan:
    return make_plan([*FAST, *AUTO, *overrides], multirun=True)


def trials_of(*overrides: str) -> RateTrials:
    found = RateTrials.of(planned(*overrides))
    assert found is not None
    return found


def test_every_rate_is_tried_for_every_configuration_with_seeds_and_steps_of_its_own() -> None:
    found = trials_of(HEADS, "optim.steps=10", "seeds=auto", "budget=1h")
    assert [(own.label, own.jobs, own.table) for own in found.rated] == [
        ("head=conservative", (0,), 0.08),
        ("head=simpler", (1,), 0.02),
    ]
    jobs = found.plan().jobs
    assert [(job.labels["head"], job.config.optim.lr) for job in jobs] == [
        (head, lr) for head in ("conservative", "simpler") for lr in (0.02, 0.04, 0.08)
    ]
    assert {job.config.optim.steps for job in jobs} == {3}  # a quarter, rounded up
    assert {job.seeds for job in jobs} == {range(100, 102)}
    assert found.folder == Path("runs/sweeps/s-rates")


@pytest.mark.parametrize("given", ["rates=tuned", "optim.lr=0.1", "optim.lr=0.1,0.2"])
def test_nothing_is_tried_where_rates_are_given(given: str) -> None:
    assert RateTrials.of(planned(HEADS, given)) is None
    single = make_plan([*FAST, "rates=auto"], multirun=False)
    assert RateTrials.of(single) is None
    search = planned("head.dropout=interval(0.0,0.3)", "hydra.sweeper.n_trials=2")
    assert RateTrials.of(search) is None


def test_the_rate_of_an_arm_that_has_one_stays(tmp_path: Path) -> None:
    file = tmp_path / "sweeps" / "own.yaml"
    file.parent.mkdir()
    file.write_text(
        "# @package _global_\narms:\n  first: {optim.lr: 0.5}\n  second: {head.dropout: 0.2}\n"
    )
    plan = make_plan([*FAST, "sweeps=own"], True, str(tmp_path))
    found = RateTrials.of(plan)
    assert found is not None
    assert [own.jobs for own in found.rated] == [(1,)]


def test_a_configuration_of_many_folds_is_tried_once_on_a_split_of_its_own() -> None:
    found = trials_of(HEADS, "data.split.folds=3", "data.repeats=2")
    assert [len(own.jobs) for own in found.rated] == [6, 6]
    splits = {(job.config.data.split.fold, job.config.data.split.seed) for job in found.plan().jobs}
    assert splits == {(0, 2)}  # the comparison has the split seeds 0 and 1
    assert [own.label for own in found.rated] == ["head=conservative", "head=simpler"]


def test_a_seed_of_the_comparison_chooses_no_rate() -> None:
    plan = planned(HEADS, "seed=95", "seeds=10")
    with pytest.raises(UserError, match=r"rates\.seed=100: seed 100 .* rates\.seed=105, or rates="):
        RateTrials.of(plan)
    with pytest.raises(UserError, match=r"rates\.seed=100"):  # the last look may have it
        RateTrials.of(planned(HEADS, "seed=50", "seeds=auto"))


@pytest.mark.parametrize(
    ("values", "rates"),
    [
        ([3.0, 1.0, 2.0], (0.02, 0.04, 0.08)),
        ([1.0, 2.0, 3.0], (0.01, 0.02, 0.04, 0.08)),
        ([3.0, 2.0, 1.0], (0.02, 0.04, 0.08, 0.16)),
        ([np.inf, 2.0, 3.0], (0.02, 0.04, 0.08)),
        ([np.inf] * 3, (0.02, 0.04, 0.08)),
    ],
)
def test_the_list_is_continued_at_the_end_that_is_best(
    values: list[float], rates: tuple[float, ...]
) -> None:
    found = trials_of(HEADS)
    measured = [dict(zip((0.02, 0.04, 0.08), of, strict=True)) for of in (values, [3.0, 1.0, 2.0])]
    wider = found.continued(measured)
    assert [own.rates for own in wider.rated] == [rates, (0.02, 0.04, 0.08)]


def test_the_list_is_continued_until_the_best_lies_within_and_no_more_than_three_times() -> None:
    found = trials_of(HEADS)
    for _ in range(5):  # of the first the lowest rate is always the best, of the second 0.005
        found = found.continued(
            [
                {rate: rate for rate in found.rated[0].rates},
                {rate: abs(rate - 0.005) for rate in found.rated[1].rates},
            ]
        )
    assert found.rated[0].rates == (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08)
    assert found.rated[1].rates == (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08)
    inside = found.continued([{0.02: 2.0, 0.04: 1.0, 0.08: 2.0}] * 2)
    assert inside.rated == found.rated


def test_the_best_rate_is_taken_and_no_label_changes() -> None:
    plan = planned(HEADS)
    found = RateTrials.of(plan)
    assert found is not None
    values = [{0.02: 2.0, 0.04: 1.0, 0.08: np.inf}, dict.fromkeys((0.02, 0.04, 0.08), np.inf)]
    chosen = found.applied(plan, values)
    assert [job.config.optim.lr for job in chosen.jobs] == [0.04, 0.02]  # the second: all failed
    assert distinct(chosen.jobs) == distinct(plan.jobs)
    heads, rows = found.table(values)
    assert heads == ["learning rate", "0.02", "0.04", "0.08", "taken"]
    assert rows[0] == ["head=conservative", "2.0000", "1.0000", "failed", "0.04"]
    assert rows[1][-1] == "0.02 (table; all failed)"
    assert lowest({0.1: np.nan, 0.2: 1.0}) == 0.2


def results(folder: Path) -> tuple[dict[str, Any], float]:
    """Configuration of a job and the mean r68 of its seeds, read without our own code."""
    values = [
        json.loads(path.read_text())["metrics"]["val_qoverpt_r68"]
        for path in folder.glob("seed_*/result.json")
    ]
    return json.loads((folder / "job.json").read_text()), fmean(values)


@pytest.mark.slow
@pytest.mark.usefixtures("working_here")
def test_a_sweep_trains_at_the_best_rate_and_again_trains_nothing(
    command: Command, tmp_path: Path
) -> None:
    words = ["train", "-m", *FAST, *AUTO, HEADS, "seeds=2", "optim.steps=8"]
    code, out, err = command(*words, "--dry-run")
    assert code == 0, err
    assert "12 trainings" in out
    assert not (tmp_path / "runs/sweeps").exists()
    code, out, err = command(*words)
    assert code == 0, err
    sweeps = tmp_path / "runs/sweeps"
    best: dict[str, tuple[float, float]] = {}
    for folder in (sweeps / "s-rates/jobs").iterdir():
        about, value = results(folder)
        rate = next(float(o[9:]) for o in about["overrides"] if o.startswith("optim.lr="))
        head = about["labels"]["head"]
        best[head] = min(best.get(head, (np.inf, 0.0)), (value, rate))
    for number, head in enumerate(("conservative", "simpler")):
        folder = sweeps / "s/jobs" / str(number)
        trained = json.dumps((folder / "config.yaml").read_text())
        assert f"lr: {best[head][1]}" in trained, head
        assert f"{best[head][1]:g}" in out
    before = times(sweeps)
    code, out, err = command(*words)
    assert code == 0, err
    assert times(sweeps) == before
    code, out, err = command(*words, "--dry-run")
    assert "the learning rates are chosen" in out
    assert "nothing is left to train" in out
    code, out, err = command("report", "s")
    assert code == 0, err
    assert "tried, " in out
    assert "for 2 steps, on seeds 100 to 101" in out
    assert "not checked" in out  # twice the steps


@pytest.mark.slow
@pytest.mark.usefixtures("working_here")
def test_why_a_trial_failed_is_said(command: Command) -> None:
    words = ["train", "-m", *FAST, *AUTO, "head.dropout=0.1,0.2", "rates.tried=[1e30,2e30]"]
    code, out, err = command(*words, "seeds=1", "optim.steps=8")
    assert code == 0, err
    assert "0.08 (table; all failed)" in out
    assert "head.dropout=0.1" in err
    assert "optim.lr=1e+30" in err
    assert "validation loss is nan" in err
