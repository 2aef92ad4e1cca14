"""Rules of a search as a configuration gives them, and what cannot be searched."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from headsweep.errors import UserError
from headsweep.stats.metrics import METRICS
from headsweep.store.outcome import COUNTS
from headsweep.sweep.plan import make_plan
from headsweep.sweep.search.reading import read_search
from helpers.toy_search import DROPOUT, LAYERS, SWEPT_RATE, TPE, WIDTH, composed, make_search, read


def test_a_search_is_read_with_its_defaults() -> None:
    search = read(f"{DROPOUT}=0.1,0.2", "seeds=3", "arm=before")
    assert search.space == {
        "optim.lr": FloatDistribution(0.001, 0.1),
        DROPOUT: CategoricalDistribution([0.1, 0.2]),
    }
    assert search.fixed == ["seeds=3", "arm=before"]
    assert (search.lag, search.n_trials, search.max_failures, search.seed) == (4, 5, 5, 0)
    assert search.objectives == ["val_qoverpt_r68"]
    assert search.sampler["_target_"] == "optuna.samplers.TPESampler"
    assert search.pruner is not None
    assert search.pruner["_target_"] == "optuna.pruners.MedianPruner"
    assert (search.storage, search.custom) == (None, None)


def test_the_shipped_search_can_be_read() -> None:
    search = make_plan(["sweeps=search"], multirun=True).search
    assert search is not None
    assert list(search.space) == [WIDTH, LAYERS, DROPOUT]
    assert search.n_trials == 60


def test_directions_follow_from_the_metrics() -> None:
    assert read(objective=["val_charge_auc"]).directions == ["maximize"]
    several = read(objective=["val_qoverpt_r68", "params_total", "val_charge_auc"])
    assert several.directions == ["minimize", "minimize", "maximize"]
    assert read(objective="val_loss").objectives == ["val_loss"]
    for metric in METRICS.values():
        if metric.better == "lower":
            assert read(objective=f"val_{metric.name}").directions == ["minimize"]


def test_several_objectives_are_not_pruned_and_none_may_be_asked_for() -> None:
    two = ["val_qoverpt_r68", "params_total"]
    assert read(objective=two).pruner is None
    for asked in ("hydra/sweeper/pruner=asha", "hydra.sweeper.pruner.n_startup_trials=3"):
        with pytest.raises(UserError, match=f"^{asked}: "):
            read(objective=two, explicit=["hydra/job_logging=none", asked])
        assert read(explicit=[asked]).pruner is not None
    none = "hydra/sweeper/pruner=none"
    assert read(objective=two, explicit=[none], pruner=False).pruner is None


def in_steps(steps: int, **node: Any) -> dict[str, Any]:
    """The pruner of a configuration as Optuna gets it."""
    given = composed().master.hydra.sweeper.copy()
    given.pruner = node
    pruner = read_search(given, [SWEPT_RATE], [], lambda _: {"optim": {"steps": steps}}).pruner
    assert pruner is not None
    return pruner


def test_the_warm_up_of_a_pruner_is_a_share_of_the_steps() -> None:
    for steps, expected in ((3200, 800), (1600, 400), (400, 100), (1, 0)):
        pruner = read(f"optim.steps={steps}").pruner
        assert pruner is not None
        assert pruner["n_warmup_steps"] == expected
        assert pruner["interval_steps"] == 1
        assert "warmup_share" not in pruner
    median = "optuna.pruners.MedianPruner"
    assert in_steps(60, _target_=median, interval_share=0.1)["interval_steps"] == 6
    with pytest.raises(UserError, match=r"warmup_share=1\.5: must be in \[0, 1\)"):
        in_steps(60, _target_=median, warmup_share=1.5)
    with pytest.raises(UserError, match=r"interval_share=True: must be in \[0, 1\)"):
        in_steps(60, _target_=median, interval_share=True)


def test_halving_begins_at_a_share_of_the_steps() -> None:
    asha = ["hydra/sweeper/pruner=asha", "hydra.sweeper.n_trials=3", SWEPT_RATE]
    for steps, expected in ((3200, 200), (1600, 100), (1, 1)):
        search = make_plan([*asha, f"optim.steps={steps}"], multirun=True).search
        assert search is not None
        assert search.pruner is not None
        assert search.pruner["min_resource"] == expected


@pytest.mark.parametrize(
    ("pruner", "key", "value", "advice"),
    [
        ("MedianPruner", "n_warmup_steps", 400, "warmup_share=0.25"),
        ("PercentilePruner", "interval_steps", 400, "interval_share=0.25"),
        ("SuccessiveHalvingPruner", "min_resource", 1, "warmup_share=0.000625"),
        ("SuccessiveHalvingPruner", "min_resource", "auto", "warmup_share=SHARE, such as 0.25"),
        ("MedianPruner", "n_warmup_steps", 1600, "warmup_share=SHARE, such as 0.25"),
    ],
)
def test_a_number_of_steps_is_refused_with_the_share_that_it_is(
    pruner: str, key: str, value: object, advice: str
) -> None:
    with pytest.raises(UserError, match=f"{key}={value}: .*give hydra.sweeper.pruner.{advice}$"):
        in_steps(1600, _target_=f"optuna.pruners.{pruner}", **{key: value})


def test_no_pruner_can_be_chosen() -> None:
    assert read(pruner=False).pruner is None
    assert read("optim.steps=int(interval(10,20))", pruner=False).pruner is None


Refused = tuple[Callable[[], object], str]

REFUSED: list[Refused] = [
    (
        lambda: read(objective="dev_qoverpt_r68"),
        r"objective=dev_qoverpt_r68: .* val_qoverpt_r68",
    ),
    (
        lambda: read(objective=["val_loss", "test_charge_misid"]),
        "objective=test_charge_misid: .* val_charge_misid",
    ),
    (lambda: read(objective="val_scale_bias"), "objective=val_scale_bias: .* val_loss"),
    (lambda: read(objective="qoverpt_r68"), "objective=qoverpt_r68: .* val_qoverpt_r68"),
    (lambda: read(objective=[]), r"objective=\[\]: "),
    (lambda: read(objective=["val_loss"] * 2), r"objective=\['val_loss', 'val_loss'\]"),
    (lambda: read(objective="params_total"), "objective=params_total: "),
    (lambda: read("target=plain,log_pt", objective="val_loss"), "target: .* val_loss "),
    (
        lambda: read("target.relative=true,false", objective=["val_qoverpt_r68", "val_loss"]),
        r"target\.relative: .*hydra\.sweeper\.objective=\[val_qoverpt_r68\]",
    ),
    (
        lambda: read("optim.steps=range(10,20)"),
        r"optim\.steps: .* hydra/sweeper/pruner=none",
    ),
    (lambda: read("optim.batch_size=16,32"), r"optim\.batch_size: .* hydra/sweeper/pruner=none"),
    (lambda: read(n_jobs=4), r"hydra\.sweeper\.n_jobs=4: .* workers=N"),
    (lambda: read(max_failure_rate=0.5), r"max_failure_rate=0\.5: .*hydra\.sweeper\.max_fail"),
    (lambda: read(study_name="x"), "study_name=x: .* name=NAME"),
    (lambda: read(direction="maximize"), "direction=maximize: .*hydra.sweeper.objective"),
    (lambda: read(lag=-1), "lag=-1: .* 0"),
    (lambda: read(n_trials=0), "n_trials=0: .* 1"),
    (lambda: read(max_failures=0), "max_failures=0: .* 1"),
    (lambda: read(n_trials=10**9), "n_trials=1000000000: .* from 1 to 100,000"),
    (
        lambda: read_search(composed().master.hydra.sweeper, ["optim.lr=0.1"], [], lambda _: {}),
        r"hydra\.sweeper\.params: ",
    ),
]


@pytest.mark.parametrize(("ask", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_cannot_be_searched_is_refused(ask: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ask()


def test_a_target_may_be_searched_by_a_metric_that_it_does_not_change() -> None:
    assert "target" in read("target=plain,log_pt").space


def test_bounds_may_be_met() -> None:
    search = read(lag=0, n_trials=1, max_failures=1)
    assert (search.lag, search.n_trials, search.max_failures) == (0, 1, 1)
    assert read(max_failures=None).max_failures is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("hydra/sweeper/sampler=grid", "hydra/sweeper/sampler=grid: .* -m "),
        ("hydra.sweeper.objective=dev_loss", "use val_loss"),
    ],
)
def test_a_command_line_is_refused_before_anything_runs(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_plan([SWEPT_RATE, "hydra.sweeper.n_trials=3", override], multirun=True)


def test_a_sampler_or_pruner_that_cannot_be_made_is_an_error() -> None:
    for change in (
        {"sampler": {"_target_": "optuna.samplers.NoSuchSampler"}},
        {"sampler": {**TPE, "no_such": 1}},
        {"sampler": {"_target_": "hydra_plugins.hydra_optuna_sweeper.config.raise_motpe_removed"}},
        {"pruner": {"_target_": "optuna.pruners.PercentilePruner", "percentile": 200}},
    ):
        [node] = change.values()
        with pytest.raises(UserError, match=re.escape(node["_target_"])):
            replace(make_search(), **change).replica(0, [])


def test_counts_are_no_metrics() -> None:
    assert not {f"val_{name}" for name in METRICS} & set(COUNTS)
