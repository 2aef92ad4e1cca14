"""The number of a grid's jobs, which is known before any of them is composed."""

import pytest

from headsweep.errors import UserError
from headsweep.sweep.plan import make_plan


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["optim.lr=range(0,1e9)"], "1,000,000,000 jobs, but a grid has at most 100,000"),
        (["optim.lr=range(0.0,1e9,0.5)"], "2,000,000,000 jobs"),
        (
            ["seed=1", "optim.steps=range(1,1001)", "optim.batch_size=range(1,1001)"],
            "1,000 of optim.steps=.* x 1,000 of optim.batch_size=.*: 1,000,000 jobs",
        ),
        (["optim.steps=range(5,5)"], r"optim.steps=range\(5,5\): there is nothing in it"),
        (["head=glob(nothing*)"], r"head=glob\(nothing\*\): there is nothing in it"),
    ],
)
def test_a_grid_has_jobs_and_not_too_many(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        make_plan(["data=tiny", "backbone=truth", *overrides], multirun=True)


def test_a_wide_range_is_searched_without_being_listed() -> None:
    fixed = ["data=tiny", "backbone=truth", "hydra.sweeper.n_trials=2"]
    found = make_plan([*fixed, "head.regression_hidden_dim=range(1,60001)"], multirun=True)
    assert [job.config.head.regression_hidden_dim for job in found.jobs] == [144, 1, 60000]
    found = make_plan([*fixed, "optim.lr=range(0.1,1.0,0.2)"], multirun=True)
    assert [round(job.config.optim.lr, 6) for job in found.jobs[1:]] == [0.1, 0.9]


def test_a_pattern_finds_no_schema() -> None:
    found = make_plan(
        ["data=tiny", "backbone=glob(*,exclude=recorded)", "optim.lr=0.1"], multirun=True
    )
    assert [job.labels["backbone"] for job in found.jobs] == ["transformer", "truth"]
