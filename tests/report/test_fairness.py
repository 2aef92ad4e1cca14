"""What other runs below a root say of rates and convergence."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from headsweep.report.fairness import Fairness, check_fairness
from headsweep.store.labels import group_rows, read_jobs
from helpers.toy_runs import write_toy_job

BASE: dict[int, float | None] = {s: 0.200 + 0.002 * s for s in range(5)}


def write(root: Path, sweep: str, widths: dict[int, float | None], **optim: float) -> None:
    number = len(list((root / "sweeps" / sweep).glob("jobs/*")))
    config = {"optim": {"steps": 100, "lr": 0.02, "batch_size": 8, **optim}}
    write_toy_job(root / "sweeps" / sweep / "jobs" / str(number), widths, config=config)


def found(root: Path) -> Fairness:
    (one,) = check_fairness(group_rows(read_jobs(root / "sweeps" / "s")), root)
    return one


def test_nothing_else_was_trained(tmp_path: Path) -> None:
    write(tmp_path, "s", BASE)
    one = found(tmp_path)
    assert (one.label, one.steps, one.rate, one.change) == ("conservative", 100, 0.02, None)
    assert (one.choice(), one.convergence()) == ("not checked", "not checked")


@pytest.mark.parametrize(
    ("factor", "state"),
    [
        (0.999, "converged"),
        (0.985, "not shown"),
        (0.97, "not shown"),
        (1.03, "not shown"),
        (0.95, "not converged"),
        (1.06, "not converged"),
    ],
)
def test_convergence_is_read_from_runs_of_twice_the_steps(
    tmp_path: Path, factor: float, state: str
) -> None:
    write(tmp_path, "s", BASE)
    write(tmp_path, "more", {7: 0.21, 8: 0.2})  # more seeds of the same configuration
    twice = {s: w * factor for s, w in {**BASE, 7: 0.21, 8: 0.2}.items()}
    write(tmp_path, "longer", twice, steps=200)
    write(tmp_path, "other", dict.fromkeys(range(5), 0.1), steps=200, lr=0.04)
    write(tmp_path, "other", dict.fromkeys(range(5), 0.1), steps=200, batch_size=16)
    one = found(tmp_path)
    assert one.state == state
    assert one.objection == ("not converged" if state == "not converged" else "")
    logs = [np.log([*values]) for values in (twice.values(), {**BASE, 7: 0.21, 8: 0.2}.values())]
    interval = stats.ttest_ind(*logs, equal_var=False).confidence_interval(0.90)
    assert one.change is not None
    assert one.change.delta == pytest.approx(np.log(factor))
    assert (one.change.low, one.change.high) == pytest.approx((interval.low, interval.high))
    words = one.convergence()
    assert words.startswith(f"{state}: {factor - 1:+.1%} [")
    assert "n = 7 and 7" in words
    assert ("seeds each (" in words) == (state == "not shown")


def test_seeds_that_tell_nothing_leave_convergence_open(tmp_path: Path) -> None:
    write(tmp_path, "s", BASE)
    write(tmp_path, "longer", {0: 0.19}, steps=200)
    assert found(tmp_path).convergence() == "not shown: -6.9%, n = 5 and 1"


def test_rates_count_on_other_seeds_only(tmp_path: Path) -> None:
    write(tmp_path, "s", BASE)
    write(tmp_path, "lr", {100: 0.21, 101: 0.23})
    write(tmp_path, "lr", {100: 0.20, 101: 0.22}, lr=0.04)
    write(tmp_path, "lr", {100: 0.30, 101: 0.30}, lr=0.08)
    write(tmp_path, "lr", {0: 0.01}, lr=0.01)  # on a seed of the comparison
    one = found(tmp_path)
    assert one.rates == pytest.approx({0.02: 0.22, 0.04: 0.21, 0.08: 0.30})
    assert one.seen == (0,)
    aside = "; other rates on seed 0 of this comparison do not count"
    words = "of 3 tried, 0.02 to 0.08"
    assert one.choice() == f"0.04 is 4.5% better {words}, on seeds 100 to 101{aside}"
    for lr in (0.02, 0.04, 0.08):
        write(tmp_path, "lr2", {105: 0.10 + lr}, lr=lr)
    ends = "at the lower end, on seeds 100, 101, 105"
    assert found(tmp_path).choice() == f"best {words}, {ends}{aside}"


def test_all_rates_count_on_the_same_seeds(tmp_path: Path) -> None:
    """What other sweeps trained at some of the rates makes none of them the better one."""
    write(tmp_path, "s", BASE)
    for lr, width in ((0.02, 0.21), (0.04, 0.20), (0.08, 0.30)):
        write(tmp_path, "lr", {100: width, 101: width + 0.02}, lr=lr)
    before = found(tmp_path)
    write(tmp_path, "presets", dict.fromkeys(range(5, 15), 0.01))  # the own rate
    write(tmp_path, "another", {200: 0.01}, lr=0.04)
    write(tmp_path, "another", dict.fromkeys(range(5, 8), 0.01), lr=0.16)
    assert found(tmp_path) == before
    assert (before.on, before.rates[0.04]) == ((100, 101), pytest.approx(0.21))


def test_a_rate_that_only_the_seeds_of_the_comparison_chose_is_named(tmp_path: Path) -> None:
    write(tmp_path, "s", BASE)
    write(tmp_path, "lr", {s: w * 1.2 for s, w in BASE.items()}, lr=0.04)
    write(tmp_path, "short", BASE, lr=0.08, steps=50)  # of another length: not the choice
    one = found(tmp_path)
    assert (one.rates, one.seen) == ({}, (0, 1, 2, 3, 4))
    assert one.choice() == (
        "not checked; other rates on seeds 0 to 4 of this comparison do not count"
    )
    assert one.objection == ""


def test_shorter_trainings_choose_a_rate_and_object_to_none(tmp_path: Path) -> None:
    write(tmp_path, "s", BASE)
    for lr, width in ((0.01, 0.5), (0.02, 0.4), (0.04, 0.3)):
        write(tmp_path, "r", {100: width, 101: width * 1.001, 0: 0.01}, lr=lr, steps=25)
    write(tmp_path, "r", {100: 0.1}, lr=0.08, steps=12)  # shorter still, and alone
    one = found(tmp_path)
    assert one.choice() == (
        "0.04 is 25.0% better of 3 tried, 0.01 to 0.04, at the upper end, for 25 steps, on seeds "
        "100 to 101"
    )
    assert one.objection == ""
    write(tmp_path, "s-rates", {100: 0.2, 101: 0.2002})
    write(tmp_path, "s-rates", {100: 0.1, 101: 0.1001}, lr=0.04)  # as long as the own ones
    assert found(tmp_path).objection.startswith("with learning rate 0.04 r68")


def test_rates_that_are_compared_are_no_choice(tmp_path: Path) -> None:
    write(tmp_path, "s", BASE)
    write(tmp_path, "s", BASE, lr=0.04)
    groups = group_rows(read_jobs(tmp_path / "sweeps" / "s"))
    assert [one.seen for one in check_fairness(groups, tmp_path)] == [(), ()]


def test_a_rate_with_a_better_one_beside_it_gets_no_verdict(tmp_path: Path) -> None:
    write(tmp_path, "s", BASE)
    write(tmp_path, "lr", {100: 0.80, 101: 0.78})
    write(tmp_path, "lr", {100: 0.30}, lr=0.01)
    assert found(tmp_path).objection == ""  # one seed has no spread
    write(tmp_path, "lr2", {101: 0.32}, lr=0.01)
    one = found(tmp_path)
    assert one.better_rate == 0.01
    assert one.objection == "with learning rate 0.01 r68 on validation is 60.8% lower"
    assert one.choice() == (
        "not the best: 0.01 is 60.8% better of 2 tried, 0.01 to 0.02, at the lower end, "
        "on seeds 100 to 101"
    )
    write(tmp_path, "lr3", {102: 0.10}, lr=0.01)
    assert found(tmp_path).objection == one.objection  # of the own rate that seed is not known
    write(tmp_path, "lr3", {102: 0.79})  # now it scatters too much to tell
    assert found(tmp_path).objection == ""


def test_a_rate_or_length_at_which_a_seed_failed_shows_nothing(tmp_path: Path) -> None:
    write(tmp_path, "s", BASE)
    own, other = ({50 + s: 0.2 * f + 0.001 * s for s in range(4)} for f in (1.0, 0.8))
    write(tmp_path, "rates", own)
    write(tmp_path, "rates", {**other, 54: None}, lr=0.04)
    write(tmp_path, "longer", {**BASE, 9: None}, steps=200)
    one = found(tmp_path)
    assert one.rates == {}
    assert (one.choice(), one.convergence(), one.objection) == ("not checked", "not checked", "")


def test_runs_on_other_features_do_not_count(tmp_path: Path) -> None:
    write(tmp_path, "s", BASE)
    config = {"optim": {"steps": 200, "lr": 0.02, "batch_size": 8}}
    other = tmp_path / "sweeps" / "longer" / "jobs" / "0"
    write_toy_job(other, BASE, config=config, cache_key="another")
    assert found(tmp_path).state == "not checked"


def test_of_folds_only_the_budget_is_known(tmp_path: Path) -> None:
    split = {"folds": 5, "fold": 0, "seed": 0}
    for sweep in ("s", "twice"):
        write_toy_job(tmp_path / "sweeps" / sweep / "jobs" / "0", BASE, split=split)
    one = found(tmp_path)
    assert (one.steps, one.rate, one.rates, one.state) == (3200, 0.08, {}, "not checked")


def test_of_folds_the_trials_of_rates_count_on_a_split_of_their_own(tmp_path: Path) -> None:
    def job(
        sweep: str, number: int, widths: dict[int, float | None], lr: float, steps: int
    ) -> None:
        split = {"folds": 5, "fold": number if sweep == "s" else 0, "seed": 10 * (sweep != "s")}
        config = {"optim": {"steps": steps, "lr": lr, "batch_size": 8}}
        folder = tmp_path / "sweeps" / sweep / "jobs" / str(number)
        write_toy_job(folder, widths, split=split, config=config, cache_key=f"{sweep} {number}")

    for fold in range(5):
        job("s", fold, {0: 0.2}, 0.02, 100)
    for number, (lr, width) in enumerate([(0.02, 0.3), (0.04, 0.4)]):
        job("s-rates", number, {100: width, 101: width + 0.01}, lr, 25)
        job("elsewhere", number, {100: 0.1, 101: 0.1}, lr, 25)
    one = found(tmp_path)
    assert one.choice() == (
        "best of 2 tried, 0.02 to 0.04, at the lower end, for 25 steps, on seeds 100 to 101"
    )
    assert one.state == "not checked"


def test_runs_of_another_version_do_not_count(tmp_path: Path) -> None:
    write(tmp_path, "s", BASE)
    write(tmp_path, "old", BASE, steps=200)
    assert found(tmp_path).state == "converged"
    file = tmp_path / "sweeps" / "old" / "jobs" / "0" / "job.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema": 1}))
    assert found(tmp_path).state == "not checked"
