"""Rules of a search: what is suggested, and what decides it."""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import optuna
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from headsweep.errors import UserError
from headsweep.instantiate import allow
from headsweep.sweep.compose import loaded_sweep
from headsweep.sweep.internals import search_space
from headsweep.sweep.search.reading import read_search
from headsweep.sweep.search.rules import Given, Search
from helpers.toy_search import compose, composed, read

LAYERS, WIDTH, DROPOUT = (
    "head.regression_num_layers",
    "head.regression_hidden_dim",
    "head.dropout",
)
SPACE: dict[str, BaseDistribution] = {
    WIDTH: IntDistribution(32, 512, log=True),
    LAYERS: IntDistribution(1, 3),
    DROPOUT: FloatDistribution(0.0, 0.4),
    "optim.lr": FloatDistribution(1e-3, 1e-1, log=True),
}
TPE = {"_target_": "optuna.samplers.TPESampler", "n_startup_trials": 3}
SEARCH = Search(
    space=SPACE,
    fixed=["seeds=2"],
    objectives=["val_loss"],
    sampler=TPE,
    pruner=None,
    custom=None,
    seed=0,
    lag=4,
    n_trials=20,
    max_failures=5,
    storage=None,
)


def resolve(overrides: Sequence[str]) -> Mapping[str, Any]:
    return composed().compose(overrides).resolved


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_width_and_dropout_are_suggested_only_where_the_depth_makes_them_live(seed: int) -> None:
    search = replace(SEARCH, seed=seed, sampler={"_target_": "optuna.samplers.RandomSampler"})
    trial = search.replica(0, [])
    overrides = search.suggest(trial, compose)
    expected = {LAYERS, "optim.lr"} | ({WIDTH, DROPOUT} if trial.params[LAYERS] > 1 else set())
    assert set(trial.params) == expected
    assert overrides == ["seeds=2", *(f"{key}={value}" for key, value in trial.params.items())]
    for key, value in trial.params.items():
        assert trial.distributions[key] == SPACE[key]
        assert SPACE[key]._contains(value)


@pytest.mark.parametrize(
    ("fixed", "depth", "alive"),
    [
        ("head=direct_projection", None, False),
        ("head=simpler", None, True),
        ("arm=direct_head", None, False),
        ("arm=before", "2,3", True),
    ],
)
def test_the_depth_may_come_from_anywhere(fixed: str, depth: str | None, alive: bool) -> None:
    more = [f"{LAYERS}={depth}"] if depth else []
    search = read(f"{WIDTH}=int(interval(8,64))", *more, fixed)
    trial = search.replica(0, [])
    overrides = search.suggest(trial, resolve)
    assert (WIDTH in trial.params) == alive
    assert fixed in overrides
    assert f"optim.lr={trial.params['optim.lr']}" in overrides


def test_a_group_may_be_searched_and_decides_what_is_live() -> None:
    search = read("head=direct_projection,simpler", f"{WIDTH}=int(interval(8,64))")
    for number in range(4):
        trial = search.replica(number, [])
        search.suggest(trial, resolve)
        assert (WIDTH in trial.params) == (trial.params["head"] == "simpler")


def more(config: Any, trial: Trial) -> None:
    """A user's own part of the space: the official sweeper's ``custom_search_space``."""
    assert config["optim"]["steps"] == 7
    if trial.params["optim.lr"] < 0.05:
        trial.suggest_float("optim.weight_decay", 1e-4, 1e-2, log=True)


def test_a_custom_search_space_adds_what_depends_on_the_rest() -> None:
    allow(__name__)
    search = read("optim.steps=7", custom_search_space=f"{__name__}.more")
    assert search.spec()["custom_search_space"] == f"{__name__}.more"
    seen = set()
    for number in range(6):
        trial = search.replica(number, [])
        overrides = search.suggest(trial, resolve)
        low = trial.params["optim.lr"] < 0.05
        assert ("optim.weight_decay" in trial.params) == low
        assert len(overrides) == 2 + low
        composed().compose(overrides)
        seen.add(low)
    assert seen == {True, False}


SEEN: list[Trial] = []


def look(config: Any, trial: Trial) -> None:
    """A user's function that looks at all that Optuna offers."""
    trial.set_user_attr("seen", trial.number)
    trial.suggest_float("optim.weight_decay", 0.0, 1.0)
    SEEN.append(trial)


def test_a_users_function_sees_the_search_as_it_is() -> None:
    search = replace(SEARCH, custom=f"{__name__}.look")
    trial = search.replica(7, HISTORY)
    search.suggest(trial, compose)
    seen = SEEN.pop()
    assert (seen.number, seen.user_attrs) == (7, {"seen": 7})
    study = seen.study
    assert [t.number for t in study.trials] == list(range(8))
    assert [t.state.is_finished() for t in study.trials] == [True] * 3 + [False] * 5
    best = min((t for t in HISTORY[:3] if t.values), key=lambda t: t.values)
    assert study.best_trial.params == best.params
    assert study.best_value == best.value
    assert seen.params.keys() >= {LAYERS, "optim.lr"}
    assert seen.datetime_start is not None
    assert [search.replica(n, HISTORY).number for n in range(9)] == list(range(9))


def choose(config: Any, trial: Trial) -> None:
    """Functions that a search cannot use, by the rate."""
    if config["head"]["regression_num_layers"] == 1:
        trial.suggest_categorical("optim.steps", ["${optim.batch_size}"])
    else:
        trial.suggest_int("seed", 0, 100)


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        (["seeds=1"], "chooses seed, and a search would find the luckiest sample"),
        ([f"{LAYERS}=1"], r"optim\.steps=\$\{optim\.batch_size\} is an interpolation"),
    ],
)
def test_a_users_function_may_not_choose_everything(fixed: list[str], message: str) -> None:
    search = replace(SEARCH, custom=f"{__name__}.choose", fixed=fixed, space={})
    with pytest.raises(UserError, match=message):
        search.suggest(search.replica(0, []), compose)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"n_warmup_steps": 399}, None),
        ({"n_warmup_steps": 400}, "warmup_share leaves nothing of optim.steps=400"),
        ({"min_resource": 400}, "warmup_share leaves nothing of optim.steps=400"),
        ({"n_startup_trials": 15}, None),
        ({"n_startup_trials": 16}, "n_startup_trials=16 and .*lag=4 leave none of 20 trials"),
    ],
)
def test_a_pruner_that_cannot_act_is_known(change: dict[str, int], words: str | None) -> None:
    found = replace(SEARCH, pruner={"_target_": "x", **change}, steps=400).cannot_prune()
    assert (found is None) == (words is None)
    assert words is None or re.search(words, found or "")


def test_a_custom_search_space_alone_is_a_search() -> None:
    node = composed().master.hydra.sweeper.copy()
    allow(__name__)
    node.custom_search_space = f"{__name__}.more"
    assert read_search(node, ["optim.steps=7"], [], resolve).space == {}


def finished(number: int) -> FrozenTrial:
    chance = random.Random(number)
    layers = chance.randint(1, 3)
    params: dict[str, Any] = {LAYERS: layers, "optim.lr": chance.uniform(1e-3, 1e-1)}
    if layers > 1:
        params |= {WIDTH: chance.randint(32, 512), DROPOUT: chance.uniform(0, 0.4)}
    distributions = {key: SPACE[key] for key in params}
    if number % 5 == 4:
        state: dict[str, Any] = {"state": TrialState.FAIL}
    else:
        state = {"value": chance.random()}
    return create_trial(params=params, distributions=distributions, **state)


HISTORY = [finished(number) for number in range(20)]


def decide(search: Search, number: int, trials: Sequence[FrozenTrial]) -> dict[str, Any]:
    trial = search.replica(number, trials)
    search.suggest(trial, compose)
    return dict(trial.params)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 20), st.integers(0, 6), st.randoms())
def test_later_results_and_later_trials_change_no_decision(
    number: int, lag: int, chance: random.Random
) -> None:
    search, first = replace(SEARCH, lag=lag), max(number - lag, 0)
    others = [
        create_trial(
            params=trial.params,
            distributions=trial.distributions,
            value=chance.random(),
            user_attrs={"seeds": chance.random()},
        )
        for trial in HISTORY[first:number]
    ]
    later = chance.sample(HISTORY, chance.randint(0, 8))
    changed = [*HISTORY[:first], *others, *later]
    assert decide(search, number, changed) == decide(search, number, HISTORY)


def test_replicas_share_finished_trials_and_change_none() -> None:
    before = [dict(vars(trial)) for trial in HISTORY]
    trial = SEARCH.replica(15, HISTORY)
    SEARCH.suggest(trial, compose)
    own = trial.study.get_trials()
    assert [(t.number, t.state, t.params, t.values) for t in own[:11]] == [
        (number, t.state, t.params, t.values) for number, t in enumerate(HISTORY[:11])
    ]
    assert [(t.number, t.state, t.params, t.values) for t in own[11:-1]] == [
        (number, TrialState.RUNNING, HISTORY[number].params, None) for number in range(11, 15)
    ]
    assert [dict(vars(trial)) for trial in HISTORY] == before


def test_the_seed_the_number_and_earlier_results_change_decisions() -> None:
    base = decide(SEARCH, 12, HISTORY)
    assert decide(SEARCH, 12, HISTORY) == base
    assert decide(SEARCH, 13, HISTORY[:8]) != base
    assert decide(replace(SEARCH, seed=1), 12, HISTORY) != base
    no_lag = replace(SEARCH, lag=0)
    assert [decide(no_lag, n, HISTORY) for n in range(10, 14)] != [
        decide(SEARCH, n, HISTORY) for n in range(10, 14)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tpe", "random", "cmaes", "nsgaii", "gp"])
def test_every_sampler_that_hydra_offers_is_deterministic(name: str) -> None:
    small = {"nsgaii": ["hydra.sweeper.sampler.population_size=4"]}.get(name, [])
    overrides = ["name=s", "hydra.sweeper.n_trials=5", f"hydra/sweeper/sampler={name}", *small]
    with loaded_sweep([*overrides, "hydra.sweeper.sampler.seed=3"], None) as sweep:
        sweeper = sweep.master.hydra.sweeper
    search = read_search(sweeper, ["x=interval(0.0,1.0)", "y=interval(0.0,1.0)"], [], resolve)
    assert search.seed == 3

    def run() -> list[Any]:
        trials: list[FrozenTrial] = []
        for number in range(8):
            trial = replace(search, lag=1).replica(number, trials)
            assert search.suggest(trial, compose) == [f"{k}={v}" for k, v in trial.params.items()]
            value = sum(value**2 for value in trial.params.values())
            trials.append(trial.study.tell(trial, value))
        return [trial.params for trial in trials]

    first = run()
    assert first == run()
    assert len({tuple(params.values()) for params in first}) == 8


@given(
    st.lists(st.booleans(), max_size=14),
    st.integers(0, 4),
    st.none() | st.integers(1, 5),
    st.integers(0, 16),
)
def test_so_many_failures_in_a_row_stop(
    fails: list[bool], lag: int, most: int | None, number: int
) -> None:
    trials = [HISTORY[4] if fail else HISTORY[0] for fail in fails]
    known, run = fails[: max(number - lag, 0)], 0
    for fail in known:
        run = run + 1 if fail else 0
    found = replace(SEARCH, lag=lag, max_failures=most).broken(number, trials)
    assert (found is not None) == (most is not None and run >= most)
    if found is not None:
        last = len(known) - 1
        assert most is not None
        numbers = [int(word) for word in re.findall(r"\d+", found)]
        assert numbers == [last - most + 1, last, most]


def test_the_specification_tells_searches_apart_and_leaves_out_what_may_change() -> None:
    spec = SEARCH.spec()
    assert spec["optuna"] == optuna.__version__
    for change in (
        {"seed": 1},
        {"lag": 3},
        {"objectives": ["val_qoverpt_r68"]},
        {"pruner": {"_target_": "optuna.pruners.MedianPruner"}},
        {"sampler": {**TPE, "n_startup_trials": 4}},
        {"space": {**SPACE, LAYERS: IntDistribution(1, 4)}},
        {"custom": "a.b"},
    ):
        assert replace(SEARCH, **change).spec() != spec
    for change in ({"n_trials": 99}, {"max_failures": None}, {"storage": "sqlite:///x"}):
        assert replace(SEARCH, **change).spec() == spec


def test_the_first_trials_stand_in_the_specification() -> None:
    first = [Given("head=a", {LAYERS: 1, "optim.lr": 1e-05}), Given("head=b", {"x": None})]
    search = replace(SEARCH, first=first)
    stored = yaml.safe_load(yaml.safe_dump(search.spec()))
    assert SEARCH.beginning_with(stored["first"]) == search
    assert "first" not in SEARCH.spec()


@pytest.mark.parametrize(
    "words",
    [
        "choice(1, 2, 'a')",
        "choice(0.1, True)",
        "interval(0.0, 0.4)",
        "range(1, 7, step=2)",
        "range(0.0, 1.0, step=0.1)",
        "int(interval(2, 9))",
        "tag(log, int(interval(32, 512)))",
        "tag(log, interval(1e-05, 0.1))",
    ],
)
def test_a_specification_shows_ranges_as_they_are_given(words: str) -> None:
    space, _ = search_space([f"x={words}"])
    assert replace(SEARCH, space=space).spec()["search"] == {"x": words}
