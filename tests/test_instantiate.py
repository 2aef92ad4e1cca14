"""Objects from configuration: imports, and keys against real signatures."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest

from headsweep.config import MLPHeadConfig
from headsweep.errors import UserError
from headsweep.heads.mlp import MLPHead
from headsweep.instantiate import check_node, locate, make

MLP = "headsweep.heads.mlp.MLPHead"
GOOD: dict[str, Any] = {
    "_target_": MLP,
    "regression_hidden_dim": None,
    "regression_num_layers": 3,
    "dropout": 0,
    "layer_norm": True,
}


def takes_anything(first: int, **others: object) -> tuple[int, dict[str, object]]:
    return first, others


def test_a_target_is_found_by_its_path() -> None:
    assert locate("fractions.Fraction") is Fraction
    assert locate(MLP) is MLPHead


@pytest.mark.parametrize("target", ["fractions.Nothing", "no_such_module.Thing", "plain", ""])
def test_a_target_that_is_not_there_is_named(target: str) -> None:
    with pytest.raises(UserError, match=f"_target_={target}: cannot be imported"):
        locate(target)


def test_making_calls_the_target_with_arguments_and_keys() -> None:
    assert make({"_target_": "fractions.Fraction", "denominator": 4}, 6) == Fraction(3, 2)


def test_good_nodes_pass() -> None:
    check_node("head", GOOD, leading=2)
    check_node("head", GOOD | {"regression_hidden_dim": 7, "dropout": 0.5}, leading=2)
    check_node("head", MLPHeadConfig(), leading=2)
    check_node("x", {"_target_": f"{__name__}.takes_anything", "first": 1, "more": "text"})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": 5}, r"head\.width: MLPHead takes no such key"),
        ({"in_dim": 5}, r"head\.in_dim: MLPHead takes no such key"),
        ({"dropout": "much"}, r"head\.dropout='much': must be float"),
        ({"dropout": True}, r"head\.dropout=True: must be float"),
        ({"regression_num_layers": 2.5}, r"head\.regression_num_layers=2\.5: must be int"),
        ({"regression_hidden_dim": "wide"}, r"head\.regression_hidden_dim='wide': must be int"),
        ({"layer_norm": 1}, r"head\.layer_norm=1: must be bool"),
    ],
)
def test_a_bad_key_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_node("head", GOOD | changes, leading=2)


def test_a_missing_key_is_named() -> None:
    node = {key: value for key, value in GOOD.items() if key != "dropout"}
    with pytest.raises(UserError, match=r"head\.dropout is missing: MLPHead needs it"):
        check_node("head", node, leading=2)


@pytest.mark.parametrize("node", [{"dropout": 0.1}, 5, None])
def test_a_node_without_a_target_is_refused(node: object) -> None:
    with pytest.raises(UserError, match="head: needs a _target_"):
        check_node("head", node)


def test_a_dataclass_that_names_another_target_is_checked_against_it() -> None:
    with pytest.raises(UserError, match=r"head\.regression_hidden_dim: Fraction takes no such key"):
        check_node("head", MLPHeadConfig(_target_="fractions.Fraction"))


def test_keys_with_a_default_may_be_left_out() -> None:
    check_node("x", {"_target_": "fractions.Fraction"})


@dataclass
class OfTwo:
    """Takes a number or a name."""

    value: int | str


@pytest.mark.parametrize(("value", "ok"), [(3, True), ("a", True), (2.5, False), (None, False)])
def test_a_union_takes_each_of_its_types(value: object, ok: bool) -> None:
    node = {"_target_": f"{__name__}.OfTwo", "value": value}
    if ok:
        check_node("x", node)
    else:
        with pytest.raises(UserError, match=r"x\.value=.*: must be"):
            check_node("x", node)
