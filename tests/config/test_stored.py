"""Configurations of files: what no command line could have set is refused by its key."""

from dataclasses import asdict
from typing import Any

import pytest

from headsweep.config import (
    Config,
    DataConfig,
    FrozenConfig,
    MLPHeadConfig,
    OptimConfig,
    SpectrometerConfig,
    TruthConfig,
)
from headsweep.config.stored import check_stored, completed
from headsweep.errors import UserError
from headsweep.sweep.plan import make_plan


def plain() -> dict[str, Any]:
    """A whole configuration as plain values."""
    data = DataConfig(source=SpectrometerConfig())
    parts = {"backbone": TruthConfig(), "head": MLPHeadConfig(), "optim": OptimConfig()}
    return asdict(Config(data=data, **parts))  # type: ignore[arg-type]


def changed(key: str, value: Any) -> dict[str, Any]:
    config = plain()
    *path, last = key.split(".")
    node = config
    for part in path:
        node = node[part]
    node[last] = value
    return config


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("optim.steps", "many", r"optim\.steps='many': must be int"),
        ("optim.steps", True, r"optim\.steps=True: must be int"),
        ("optim.steps", 0, r"optim\.steps=0: must be at least 1"),
        ("optim.lr", float("nan"), r"optim\.lr=nan: must be above 0"),
        ("optim", [], r"optim=\[\]: must be keys with values"),
        ("optim.pace", 1, r"optim\.pace: no such key"),
        ("pooling.statistics", ["avg", 3], r"pooling\.statistics=\['avg', 3\]: must be"),
        ("pooling.statistics", "avg", r"pooling\.statistics='avg': must be"),
        ("data.split", None, r"data\.split=None: must be keys with values"),
        ("data.split.folds", 2.5, r"data\.split\.folds=2\.5: must be"),
        ("data.source.events", "100", r"data\.source\.events='100': must be int"),
        ("data.source", "here", r"data\.source=here: must be keys with a _target_"),
        ("head", {"dropout": 0.1}, r"head=\{'dropout': 0\.1\}: must be keys with a _target_"),
        ("head.regression_num_layers", None, r"head\.regression_num_layers=None: must be int"),
        ("backbone.purity", "1", r"backbone\.purity='1': must be float"),
        ("target.name", ["plain"], r"target\.name=\['plain'\]: must be str"),
        ("loss.weights", [1, 1], r"loss\.weights=\[1, 1\]: must be keys with values"),
        ("loss.weights.pt", "8", r"loss\.weights\.pt='8': must be float"),
        ("loss.scale.pt", -8.0, r"loss\.scale\.pt=-8\.0: must be above 0"),
        ("seeds", [3], r"seeds=\[3\]: must be a whole number in"),
    ],
)
def test_a_value_that_no_command_could_set(key: str, value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_stored(changed(key, value))


def test_what_is_composed_passes() -> None:
    check_stored(plain())
    for choice in ("data=acts", "data=hepattn", "data=frozen"):
        words = [choice, "data.source.path=x", "backbone=truth"]
        config = make_plan(words, multirun=False).jobs[0].resolved
        check_stored(config)
    check_stored(changed("head", {"_target_": "my_heads.Own", "anything": [1, "a"]}))


def test_what_a_file_lacks_is_taken_from_the_schema() -> None:
    """A key that is newer than the file; a class of the user's own has no schema."""
    frozen = {"_target_": FrozenConfig._target_, "path": "there", "plane": "xy", "pt_edges": [1, 2]}
    found = completed(frozen)
    assert found == {**frozen, "coils": None, "min_bin_tracks": 200, "limits": {}}
    assert completed(found) == found
    own = {"_target_": "mine.Source", "path": "there"}
    assert completed(own) == own
