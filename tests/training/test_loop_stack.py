"""Jobs in one stack: what comes of each is what comes of it alone, bit by bit."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from headsweep.heads.mlp import MLPHead
from headsweep.training.loop import fit
from headsweep.training.loss import Loss
from headsweep.training.recipe import Recipe
from headsweep.training.record import MemberResult
from training.test_loop import Fuse, Head, population, problem, short


def together(
    recipes: Sequence[Recipe], head: Head | None = None
) -> tuple[list[int], list[list[MemberResult]]]:
    """Order in which jobs end, and their results by place."""
    train, val, _ = problem()
    found = list(fit(population(head), recipes, train, val))
    return [place for place, _ in found], [
        results for _, results in sorted(found, key=lambda f: f[0])
    ]


def check_equal_alone(
    recipes: Sequence[Recipe], head: Head | None = None
) -> list[list[MemberResult]]:
    _, stacked = together(recipes, head)
    assert len(stacked) == len(recipes)
    for recipe, results in zip(recipes, stacked, strict=True):
        _, (own,) = together([recipe], head)
        assert [r.seed for r in results] == list(recipe.seeds)
        for one, other in zip(results, own, strict=True):
            check_equal(one, other)
    return stacked


def check_equal(one: MemberResult, other: MemberResult) -> None:
    for name in ("seed", "status", "reason", "steps", "best_step", "metrics"):
        assert repr(getattr(one, name)) == repr(getattr(other, name)), name  # NaN is NaN
    assert one.history.equals(other.history)
    for own, others in ((one.weights, other.weights), (one.last_weights, other.last_weights)):
        assert own.keys() == others.keys()
        assert all(
            torch.equal(own[name], others[name]) for name in own if own[name].isfinite().all()
        )


def recipes_of(*keys: dict[str, Any], **shared: Any) -> list[Recipe]:
    _, _, loss = problem()
    known = {"seeds", "dropout", "on_evaluation", "also", "loss"}
    recipes = []
    for own in keys:
        own = {**shared, **own}
        about = {name: own.pop(name) for name in known & own.keys()}
        recipes.append(Recipe(**{"seeds": [3], "loss": loss, **about, "optim": short(**own)}))
    return recipes


def test_rates_decays_clips_and_schedules_are_of_each_job() -> None:
    recipes = recipes_of(
        {"lr": 0.01, "seeds": [3, 4]},
        {"lr": 0.05, "weight_decay": 0.3, "clip": 0.2},
        {"lr": 0.0313, "weight_decay": 0.0, "schedule": "constant", "also": ["qoverpt_std"]},
        {"lr": 0.02, "schedule": "plateau", "patience": 1},
        steps=120,
    )
    stacked = check_equal_alone(recipes)
    assert "val_qoverpt_std" in stacked[2][0].history
    assert "val_qoverpt_std" not in stacked[0][0].history
    assert not torch.equal(*(stacked[j][0].weights["head.0.weight"] for j in (0, 1)))


def test_dropout_is_of_each_job() -> None:
    """Between members with dropout one without; and by the head's own, as by the stack's."""
    recipes = recipes_of({"dropout": 0.1}, {"dropout": 0.0}, {"dropout": 0.37, "seeds": [3, 5]})
    stacked = check_equal_alone(recipes)
    for recipe, results in zip(recipes, stacked, strict=True):
        head = lambda a, o, p=recipe.dropout: MLPHead(a, o, 24, 2, p, True)  # noqa: E731
        _, (own,) = together([replace(recipe, dropout=None)], head)
        for one, other in zip(results, own, strict=True):
            check_equal(one, other)


def test_losses_are_of_each_job() -> None:
    _, _, plain = problem()
    losses = [plain]
    for keys in ({"weights": {"eta": 2.0}}, {"scale": {"pt": 8.0}, "beta": 0.3}, {}):
        _, _, loss = problem(**keys)
        losses.append(loss)
    check_equal_alone(recipes_of(*({"loss": loss} for loss in losses), lr=0.02))


@pytest.mark.parametrize("patience", [1, 3])
def test_a_job_that_stops_early_is_given_at_once(patience: int) -> None:
    recipes = recipes_of(
        {"lr": 0.02, "schedule": "constant", "patience": patience},
        {"lr": 0.02, "schedule": "onecycle"},
        {"lr": 0.3, "schedule": "constant", "patience": patience, "seeds": [1, 2]},
        steps=300,
    )
    check_equal_alone(recipes)
    order, stacked = together(recipes)
    assert order[-1] == 1
    assert {stacked[0][0].steps < 300, stacked[1][0].steps == 300} == {True}


def test_a_pruned_job_leaves_and_the_others_go_on() -> None:
    asked: list[tuple[int, int]] = []

    def prune(step: int, points: list[dict[str, float]]) -> str | None:
        asked.append((step, len(points)))
        return "too bad" if step >= 8 else None

    recipes = recipes_of(
        {"lr": 0.01}, {"lr": 0.02, "seeds": [1, 2], "on_evaluation": prune}, {"lr": 0.03}
    )
    order, stacked = together(recipes)
    assert order[0] == 1
    assert {(r.status, r.reason) for r in stacked[1]} == {("pruned", "too bad")}
    assert {number for _, number in asked} == {2}
    check_equal_alone(recipes)


def test_members_that_fail_leave_their_own_job_and_the_others_alone() -> None:
    """Of a head without a stacked form, whose members run one after the other."""
    recipes = recipes_of(
        {"seeds": [0, 1, 2]}, {"seeds": [3, 4, 5], "lr": 0.01}, {"seeds": [0]}, lr=0.03
    )
    stacked = check_equal_alone(recipes, Fuse)
    statuses = {r.status for results in stacked for r in results}
    assert statuses == {"failed", "finished"}


class Own(nn.Sequential):
    """A user's head with a dropout of torch, without a stacked form."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__(nn.Linear(in_dim, 8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, out_dim))


def test_a_head_of_a_users_own_draws_its_own_dropout() -> None:
    check_equal_alone(recipes_of({"lr": 0.01}, {"lr": 0.02, "seeds": [3, 4]}), Own)


def test_time_is_shared_by_members() -> None:
    """The time of a stack is not counted once for each of its jobs."""
    import time

    recipes = recipes_of({"seeds": [1]}, {"seeds": [2, 3, 4]})
    start = time.perf_counter()
    _, stacked = together(recipes)
    wall = time.perf_counter() - start
    one, three = stacked[0][0].seconds, stacked[1][0].seconds
    assert one + three <= wall
    assert three == pytest.approx(3 * one, rel=0.05)


def test_the_target_of_a_loss_is_shared() -> None:
    """Losses with as many outputs mix, each on its own scale."""
    _, _, loss = problem(name="smooth_l1", beta=2.0)
    assert isinstance(loss, Loss)
    check_equal_alone(recipes_of({"loss": loss}, {}, {"loss": loss}))
