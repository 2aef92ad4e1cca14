"""Plans of searches: ranges are checked at their ends, and the sampler is part of what they are."""

import pytest

from headsweep.errors import UserError
from headsweep.sweep.plan import Plan, make_plan

pytestmark = pytest.mark.slow


def sweep(*overrides: str) -> Plan:
    return make_plan(overrides, multirun=True)


def test_the_specification_of_a_search_has_its_sampler() -> None:
    spec = sweep("sweeps=search").spec
    assert spec["search"]["head.dropout"] == "interval(0.0, 0.4)"
    assert spec["search_seed"] == 0
    assert spec["lag"] == 4
    more = sweep("sweeps=search", "hydra.sweeper.n_trials=70").spec
    assert more == spec | {"n_trials": 70}
    for override in ("hydra.sweeper.sampler.seed=1", "head.dropout=0.1", "optim.lr=0.1"):
        assert sweep("sweeps=search", override).spec != spec
    assert sweep("sweeps=search", "workers=3").spec == spec


def test_a_search_is_checked_at_the_ends_of_its_ranges() -> None:
    plan = sweep("sweeps=search")
    assert plan.trials == 60
    assert "search" in plan.spec
    heads = [job.config.head for job in plan.jobs]
    assert {head.regression_hidden_dim for head in heads} == {32, 144, 512}
    assert {head.regression_num_layers for head in heads} == {1, 3, 5}
    assert {0.0, 0.4} < {head.dropout for head in heads}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("head.dropout=interval(0.0,1.0)", "head.dropout=1.0: must be in"),
        ("head.dropout=interval(-0.5,0.5)", "head.dropout=-0.5: must be in"),
        ("head.regression_num_layers=range(0,3)", "head.regression_num_layers=0"),
        ("head.regression_num_layers=interval(1,5)", r"use head.regression_num_layers=int\("),
        ("head.regression_hidden_dim=tag(log,interval(32,512))", r"int\(interval\(A, B\)\)"),
        ("seed=range(5)", "luckiest sample"),
        ("data.split.seed=choice(1,2)", "luckiest sample"),
        ("head.dropout=interval(0.4,0.0)", "the interval must rise"),
        ("head.dropout=tag(log,interval(0.0,0.4))", "a range of the search cannot be used"),
        ("head.regression_num_layers=range(3,1)", "there is nothing in it"),
        ("hydra.sweeper.objective=3", "one metric or several"),
        ("hydra/sweeper/sampler=qmc", "use random or tpe"),
        ("hydra.sweeper.pruner.n_startup_trials=-1", "cannot be used"),
        ("data.split.fold=range(5)", "luckiest sample"),
        ("data.source.seed=range(5)", "luckiest sample"),
        ("data.selection.min_pt=interval(0.0,50.0)", "luckiest sample"),
        ("backbone.seed=range(5)", "luckiest sample"),
        ("head=simpler,simplest", "simplest"),
    ],
)
def test_mistakes_of_a_search(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        sweep("sweeps=search", override)
