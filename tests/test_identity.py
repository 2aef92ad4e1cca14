"""Identity of runs: short names in place of module paths, for good."""

import json
import re
from functools import cache

import pytest

from headsweep.files import flat
from headsweep.identity import identity, member_key, run_key, without_effect
from headsweep.sweep.compose import Job
from headsweep.sweep.plan import make_plan

pytestmark = pytest.mark.slow


@cache
def compose(*overrides: str) -> Job:
    return make_plan(overrides, multirun=False).jobs[0]


@pytest.fixture(scope="module")
def default() -> Job:
    return compose()


CHOICES = [
    [],
    ["head=direct_projection"],
    ["backbone=truth"],
    ["data=hepattn", "data.source.path=x"],
    ["data=acts", "data.source.path=x"],
]


@pytest.mark.parametrize("overrides", CHOICES)
def test_no_module_path_is_part_of_an_identity(overrides: list[str]) -> None:
    job = compose(*overrides)
    assert "headsweep." in json.dumps(job.resolved)
    assert "headsweep." not in json.dumps(identity(job.resolved))


def test_the_key_of_the_default_run_never_changes() -> None:
    """A release that changes it makes all finished runs anew: raise NUMERICS instead."""
    job = compose()
    assert run_key(job.resolved, "data", "checkpoint") == "cd91d62bc4acce28"


def test_a_configuration_from_before_there_was_a_choice_of_losses_has_the_key_of_the_default(
    default: Job,
) -> None:
    before = {key: value for key, value in default.resolved.items() if key != "loss"}
    before["target"] = {k: v for k, v in before["target"].items() if k != "phi"}
    assert identity(before) == identity(default.resolved)
    assert "loss" not in identity(before)


def test_a_head_of_a_user_is_known_by_its_path() -> None:
    job = compose()
    own = job.resolved | {"head": {"_target_": "mine.heads.Head"}}
    assert identity(own)["head"] == {"_target_": "mine.heads.Head"}
    assert identity(job.resolved)["head"]["_target_"] == "mlp"


@pytest.mark.parametrize(
    ("overrides", "same"),
    [
        (["root=elsewhere", "workers=1", "threads=2", "tracking=false"], True),
        (["seeds=8"], True),
        (["seed=3"], True),
        (["head=conservative", "arm=baseline", "head.dropout=0.1"], True),
        (["head.dropout=0.2"], False),
        (["target=log_pt"], False),
        (["target.phi=sincos"], False),
        (["loss=huber"], False),
        (["loss.weights.pt=2"], False),
        (["loss.charge=bce"], False),
        (["loss=smooth_l1", "loss.beta=1", "target.phi=angle"], True),
        (["data.source.seed=2"], False),
        (["data.split.seed=2"], False),
        (["data.selection.min_pt=5"], False),
        (["data/selection=quality"], False),
        (["data/selection=all_tracks", "data.selection.min_hits=0"], True),
    ],
)
def test_run_key(overrides: list[str], same: bool, default: Job) -> None:
    other = compose(*overrides)
    keys = [run_key(job.resolved, "data", "checkpoint") for job in (default, other)]
    assert (keys[0] == keys[1]) is same


def test_width_and_dropout_of_one_layer_are_no_identity() -> None:
    jobs = [
        compose("optim.lr=0.1", *overrides)
        for overrides in (
            ["head=direct_projection"],
            ["head=direct_projection", "head.dropout=0.3", "head.regression_hidden_dim=7"],
            ["arm=direct_head"],
        )
    ]
    assert len({run_key(job.resolved, "d", "c") for job in jobs}) == 1
    head = identity(jobs[0].resolved)["head"]
    assert head["regression_hidden_dim"] == head["dropout"] == 0


@pytest.mark.parametrize(
    ("overrides", "changed", "same"),
    [
        ([], ["pooling.activation=swiglu"], True),
        (["pooling.projection=mlp"], ["pooling.activation=swiglu"], False),
        ([], ["backbone.checkpoint=copy.safetensors"], True),
        (["backbone=truth"], ["backbone.purity=0.9"], False),
        ([], ["data.selection.min_station_hits=4"], True),
        (["data/selection=quality"], ["data.selection.min_station_hits=4"], False),
        (["data=acts"], ["data.source.path=there"], True),
        (["data=acts"], ["data.source.pt_edges=[1,2,3]"], False),
        (["data=acts"], ["data.split.fold=1"], False),
        (["data=acts"], ["data.source.plane=rz"], False),
    ],
)
def test_places_bins_and_what_is_inert_are_no_identity(
    overrides: list[str], changed: list[str], same: bool
) -> None:
    base = ["data.source.path=here"] if "data=acts" in overrides else []
    found = [identity(compose(*overrides, *base, *more).resolved) for more in ([], changed)]
    assert (found[0] == found[1]) is same


ONE_LAYER, PERCEPTRON = "head=direct_projection", "head=conservative"
HERE = "data=acts data.source.path=here"


@pytest.mark.parametrize(
    ("key", "value", "free", "bound"),
    [
        ("head.dropout", "0.3", ONE_LAYER, PERCEPTRON),
        ("head.regression_hidden_dim", "7", ONE_LAYER, PERCEPTRON),
        ("head.layer_norm", "false", ONE_LAYER, PERCEPTRON),
        ("pooling.activation", "swiglu", "pooling.projection=linear", "pooling.projection=mlp"),
        (
            *("data.selection.min_station_hits", "4"),
            *("data.selection.min_stations=0", "data/selection=quality"),
        ),
        ("data.split.dev", "0.3", "data.split.folds=3", "data.split.folds=null"),
        ("data.split.test", "0.1", "data.split.folds=3", "data.split.folds=null"),
        ("backbone.seed", "2", "backbone=truth", "backbone=truth backbone.purity=0.9"),
        ("features.assignment_threshold", "0.3", "backbone=truth", "backbone=transformer"),
        ("features.name", "document", "pooling.raw=false", "pooling.encoded=false"),
        ("data.source.coils", "8", HERE, f"{HERE} features=harmonics"),
        ("loss.weights.q", "3", "target=q_over_pt", "target=log_pt"),
        ("loss.scale.q", "3", "target=q_over_pt", "target=log_pt"),
        ("loss.scale.q", "3", "loss.charge=bce", "loss=huber"),
        ("loss.scale.eta", "3", "loss.weights.eta=0", "loss.weights.eta=0.5"),
        ("loss.scale.pt", "3", "loss=quantile", "loss=weighted_pt"),
        ("loss.beta", "3", "loss=gaussian", "loss=huber"),
        *[
            (key, value, "pooling.raw=false pooling.encoded=false", "pooling.raw=false")
            for key, value in (
                ("pooling.width", "half"),
                ("pooling.projection", "mlp"),
                ("pooling.statistics", "[avg]"),
            )
        ],
    ],
)
def test_keys_without_effect_are_those_that_change_no_identity(
    key: str, value: str, free: str, bound: str
) -> None:
    for decider, same in ((free, True), (bound, False)):
        found = [
            flat(identity(compose(*decider.split(), *more).resolved))
            for more in ([], [f"{key}={value}"])
        ]
        assert (found[0] == found[1]) is same
        assert (key in without_effect(found[0])) is same


@pytest.mark.parametrize(
    ("key", "decider"),
    [
        ("data.split.fold", "data.split.folds=3"),
        ("target.pt_unit", "target.standardise=false"),
    ],
)
def test_keys_that_a_configuration_refuses_where_they_have_no_effect(
    key: str, decider: str
) -> None:
    for overrides, free in (([], True), ([decider], False)):
        known = flat(identity(compose(*overrides).resolved))
        assert (key in without_effect(known)) is free
        assert (key in known) is not free


def test_keys_depend_on_data_checkpoint_and_seed(default: Job) -> None:
    key = run_key(default.resolved, "data", "checkpoint")
    assert key != run_key(default.resolved, "other", "checkpoint")
    assert key != run_key(default.resolved, "data", "other")
    assert re.fullmatch(r"[0-9a-f]{16}", key)
    assert member_key(key, 0) != member_key(key, 1)
