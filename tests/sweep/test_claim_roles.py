"""Roles of the claims: found by all that a configuration changes, and by nothing else."""

from typing import Any

import pytest

from headsweep.errors import UserError
from headsweep.sweep.claim_roles import find_roles
from headsweep.sweep.plan import make_plan

pytestmark = pytest.mark.slow

DIRECT = ["head.regression_num_layers=1"]
HALF = ["pooling.width=half"]


def config(*overrides: str) -> dict[str, Any]:
    """A resolved configuration."""
    words = ["data=tiny", "backbone=truth", "head=conservative", *overrides]
    return make_plan(words, multirun=False).jobs[0].resolved


def test_a_role_is_all_that_changes() -> None:
    configs = [
        config(),
        config("optim.clip=2"),
        config(*HALF),
        config(*DIRECT, "optim.lr=0.01"),
        config("head.dropout=0"),
        config(*DIRECT, *HALF),
    ]
    roles = find_roles(configs)
    assert roles == {"conservative": 0, "half": 2, "direct": 3, "no dropout": 4, "before": 5}


def test_another_loss_is_no_role() -> None:
    for first, other in (("loss=huber", "loss=smooth_l1"), ("loss=smooth_l1", "loss=huber")):
        assert find_roles([config(first), config(*HALF, other)]) == {"conservative": 0}
        assert find_roles([config(first), config(*HALF, first)]) == {"conservative": 0, "half": 1}
    roles = find_roles([config("target.phi=sincos"), config(*HALF)])
    assert roles == {"conservative": 0}


def test_what_one_layer_does_not_use_is_no_change() -> None:
    roles = find_roles([config(), config(*DIRECT, "head.dropout=0.3")])
    assert roles == {"conservative": 0, "direct": 1}


def test_folds_of_a_cross_validation_are_one_configuration() -> None:
    folds = [f"data.split.fold={fold}" for fold in (0, 1)]
    roles = find_roles([config("data.split.folds=2", fold) for fold in folds])
    assert roles == {"conservative": 0}


@pytest.mark.parametrize("first", [DIRECT, HALF, ["head.dropout=0"]])
def test_the_first_is_the_control(first: list[str]) -> None:
    with pytest.raises(UserError, match=r"design\.kind=claims"):
        find_roles([config(*first), config()])


def test_a_role_has_one_rate() -> None:
    with pytest.raises(UserError, match=r"jobs 1 and 2 .*half"):
        find_roles([config(), config(*HALF), config(*HALF, "optim.lr=0.01")])
