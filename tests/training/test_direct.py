"""The step without autograd gives the very bits of the step with it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from headsweep.config import PoolingConfig
from headsweep.features.cache import Features
from headsweep.heads.dense import DenseHead
from headsweep.heads.mlp import MLPHead
from headsweep.training import direct
from headsweep.training.loop import Split, update
from headsweep.training.loss import Loss, Losses
from headsweep.training.members import AdamW, Batches, Population, build_member
from helpers.dense import ragged

Head = Callable[[int, int], nn.Module]


def mlp(
    width: int | None = 12, layers: int = 3, dropout: float = 0.1, layer_norm: bool = True
) -> Head:
    return lambda a, o: MLPHead(a, o, width, layers, dropout, layer_norm)


def features(tracks: int, inputs: int = 5, dim: int = 4, longest: int = 9) -> Features:
    rng = np.random.default_rng(0)
    split = ragged(rng.integers(0, longest, tracks).tolist(), 0, inputs, dim)
    pt, q = np.exp(rng.normal(2, 1, tracks)), rng.choice([-1, 1], tracks)
    truth = np.stack([*rng.normal(size=(2, tracks)), pt, q], 1).astype(np.float32)
    return replace(split, truth=truth, analytic=truth)


def trained(
    head: Head,
    split: Features,
    config: PoolingConfig,
    keys: dict[str, Any],
    batch: int,
    leave: bool = True,
    members: int = 3,
    dropout: list[float] | None = None,
) -> tuple[Population, list[Any]]:
    """Six steps, of which after three a member leaves; weights, losses and norms."""
    loss = Loss.fit({"target": {"name": "log_pt"}, "loss": keys}, split.truth, split.axis)
    data = Split.of(split, loss.target)
    inputs, dim = split.raw.shape[1], split.query.shape[1]
    estimate = data.hits.estimate.shape[1] if config.analytic else 0
    build = lambda: build_member(config, inputs, dim, loss.outputs, head, estimate)  # noqa: E731
    population = Population(build, config, range(members))
    population.dropout = dropout
    batches = Batches(range(members), len(split), batch)
    optimiser, seen = AdamW(population.weights, 0.01), []
    for step in range(6):
        if step == 3 and leave:
            for part in (population, batches, optimiser):
                part.keep([0, 2])
        rates = [0.01] * len(population)
        seen.append(update(population, optimiser, data, loss, batches.next(), rates, 1.0))
    return population, seen


def compare(monkeypatch: pytest.MonkeyPatch, *args: Any, **keys: Any) -> None:
    """Hold the step without autograd against the step with it."""
    got, seen = trained(*args, **keys)
    assert isinstance(got.kept, direct.Direct)
    monkeypatch.setattr(direct, "is_direct", lambda _: False)
    want, reference = trained(*args, **keys)
    assert want.kept is None
    assert seen == reference
    assert torch.equal(got.weights, want.weights)


HEADS = {
    "default": mlp(),
    "plain": mlp(dropout=0.0),
    "no norm": mlp(layer_norm=False),
    "neither": mlp(dropout=0.0, layer_norm=False, layers=2),
    "direct": mlp(layers=1),
    "deep": mlp(37, 4, 0.3),
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_heads(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    compare(monkeypatch, head, features(80), PoolingConfig(), {}, 29)


POOLINGS: dict[str, dict[str, Any]] = {
    "half": {"width": "half"},
    "no query": {"query": False, "statistics": ["max", "avg"]},
    "raw": {"encoded": False, "statistics": ["min"]},
    "sum": {"raw": False, "statistics": ["sum"]},
    "query": {"raw": False, "encoded": False},
    "estimate": {"analytic": True, "statistics": ["sum", "min", "avg", "max"]},
}


@pytest.mark.parametrize("keys", POOLINGS.values(), ids=POOLINGS)
def test_poolings(keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    compare(monkeypatch, mlp(), features(80), PoolingConfig(**keys), {}, 32)


LOSSES: list[dict[str, Any]] = [
    {"beta": 0.1},
    {"scale": {"pt": 8.0}},
    {"weights": {"eta": 2.0}},
    {"charge": "bce"},
    {"name": "gaussian"},
    {"name": "quantile"},
]


@pytest.mark.parametrize("keys", LOSSES)
def test_losses(keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    compare(monkeypatch, mlp(), features(80), PoolingConfig(), keys, 29)


@pytest.mark.parametrize(("members", "batch"), [(1, 64), (3, 200)])
def test_at_the_size_of_a_training(
    members: int, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large products and sums round by their shape and by the place of their operands."""
    split = features(600, 23, 32, 40)
    head = mlp(144, 3)
    compare(
        monkeypatch, head, split, PoolingConfig(), {}, batch, leave=members > 1, members=members
    )


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_gradients_in_both_precisions(dtype: torch.dtype, tolerance: float) -> None:
    split, config = features(50), PoolingConfig()
    loss = Loss.fit({"target": {"name": "plain"}}, split.truth, split.axis)
    data = Split.of(split, loss.target)
    names = ("raw", "encoded", "p", "query", "weight", "raw_sum", "encoded_sum")
    hits = replace(data.hits, **{n: getattr(data.hits, n).to(dtype) for n in names})
    build = lambda: build_member(config, 5, 4, 4, mlp(dropout=0.0))  # noqa: E731
    population = Population(build, config, [4, 2], dtype=dtype)
    rows = Batches([4, 2], 50, 20).next()
    targets = data.targets.to(dtype)
    for batch in (rows, rows[:, :7].contiguous()):
        got = direct.gradients(population, hits, targets, loss, batch)
        want = direct.autograd(population, hits, targets, loss, batch)
        torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dropout", [[0.5, 0.0, 0.1], [0.0, 0.2, 0.0], [0.3, 0.3, 0.3]])
def test_members_with_their_own_dropout(
    dropout: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    compare(monkeypatch, mlp(), features(80), PoolingConfig(), {}, 29, dropout=dropout)


def test_members_with_their_own_losses() -> None:
    """As jobs of one stack have them: alike, the plain way; else by autograd; the same bits."""
    split, config = features(80), PoolingConfig()
    target = {"target": {"name": "log_pt"}}
    losses = [Loss.fit(target | {"loss": {"beta": b}}, split.truth, split.axis) for b in (1, 0.1)]
    data = Split.of(split, losses[0].target)
    rows = Batches([4, 2], 80, 29).next()
    for each in ([0, 0], [0, 1]):
        stack = Losses([losses[i] for i in each])
        assert (stack.plain_beta is None) == (each == [0, 1])
        build = lambda: build_member(config, 5, 4, 4, mlp(dropout=0.0))  # noqa: E731
        population = Population(build, config, [4, 2])
        got = direct.gradients(population, data.hits, data.targets, stack, rows)
        want = direct.autograd(population, data.hits, data.targets, stack, rows)
        assert torch.equal(got[0], want[0])
        assert torch.equal(got[1], want[1])
        stack.keep([1])
        assert stack.plain_beta == losses[each[1]].config.beta


class Own(MLPHead):
    """A head of a user's own, which only looks like the project's."""

    def stacked(self, params: Any, x: torch.Tensor, dropout: Any) -> torch.Tensor:
        return 2 * super().stacked(params, x, dropout)


@pytest.mark.parametrize(
    ("head", "keys"),
    [
        (lambda a, o: Own(a, o, 8, 2, 0.0, True), {}),
        (lambda a, o: DenseHead(a, o, "silu"), {}),
        (mlp(), {"projection": "mlp"}),
    ],
)
def test_all_else_takes_autograd(head: Head, keys: dict[str, Any]) -> None:
    population, _ = trained(head, features(80), PoolingConfig(**keys), {}, 29)
    assert population.kept is None


def test_weights_that_are_loaded_are_seen() -> None:
    split = features(80)
    population, _ = trained(mlp(), split, PoolingConfig(), {}, 29, leave=False)
    other, _ = trained(mlp(), split, PoolingConfig(), {}, 29)
    population.load([other.member_weights(0)] * 3)
    loss = Loss.fit({"target": {"name": "log_pt"}}, split.truth, split.axis)
    data = Split.of(split, loss.target)
    rows = torch.arange(29).expand(3, -1).contiguous()
    states = [generator.get_state() for generator in population._dropout]
    values, grads = direct.gradients(population, data.hits, data.targets, loss, rows)
    for generator, state in zip(population._dropout, states, strict=True):
        generator.set_state(state)
    want = direct.autograd(population, data.hits, data.targets, loss, rows)
    assert torch.equal(values, want[0])
    assert torch.equal(grads, want[1])
