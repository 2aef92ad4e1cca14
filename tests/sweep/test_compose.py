"""Composition of jobs: one after the other as each alone, and wrong words refused by name."""

import pytest

from headsweep.config import OptimConfig
from headsweep.errors import UserError
from headsweep.sweep.compose import loaded_sweep, tuned_rate
from headsweep.sweep.plan import make_plan

pytestmark = pytest.mark.slow

SMALL = ["data=tiny", "backbone=truth"]
JOBS = [
    ["optim.lr=0.1"],
    ["head=simpler", "optim.lr=0.1"],
    ["optim.lr=0.1", "pooling.width=half"],
    ["head=simpler", "head.dropout=0.3"],
    ["optim.lr=0.1"],
]


def test_what_was_composed_before_changes_no_job() -> None:
    with loaded_sweep(["name=s", *SMALL], None) as sweep:
        together = [sweep.compose([*SMALL, *job]) for job in JOBS]
    for job, composed in zip(JOBS, together, strict=True):
        [alone] = make_plan([*SMALL, *job], multirun=False).jobs
        assert composed.resolved == alone.resolved
        assert composed.labels == alone.labels


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("head.dropot=0.1", "dropot"),
        ("optim.lr=much", "lr"),
        ("head=simplest", "head/simplest"),
        ("optim.steps=0", "optim.steps=0"),
    ],
)
def test_a_wrong_word_is_named(override: str, named: str) -> None:
    with loaded_sweep(["name=s", *SMALL], None) as sweep, pytest.raises(UserError, match=named):
        sweep.compose([*SMALL, override])


def test_so_many_seeds_that_no_range_holds_them_are_refused() -> None:
    for seeds in (2**63 - 1, 2**63):
        with pytest.raises(
            UserError, match=rf"seeds={seeds}: must be a whole number in \[1, 1e6\]"
        ):
            make_plan([f"seeds={seeds}"], multirun=False)


def test_rates_come_from_the_table_unless_they_are_given() -> None:
    table = {"head": {"h": 1.0}, "arm": {"a": 2.0}}
    for arm, head, rate in (("a", "h", 2.0), ("b", "h", 1.0), ("b", "other", OptimConfig.lr)):
        assert tuned_rate(table, {"arm": arm, "head": head}) == rate
    rates = [job.config.optim.lr for job in make_plan(["sweeps=path"], multirun=True).jobs]
    assert len(set(rates)) > 1
    given = make_plan(["sweeps=path", "optim.lr=0.3"], multirun=True).jobs
    assert {job.config.optim.lr for job in given} == {0.3}
