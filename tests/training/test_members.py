"""A member gives the same result alone and in any company, and AdamW is torch's AdamW."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from headsweep.config import PoolingConfig
from headsweep.heads.dense import DenseHead
from headsweep.heads.mlp import MLPHead
from headsweep.training.loss import Loss
from headsweep.training.members import AdamW, Batches, Population, build_member, clip_rows
from headsweep.training.pooling import to_hits
from helpers.dense import dense, ragged

Head = Callable[[int, int], nn.Module]


PLAIN = PoolingConfig()
LOSS = Loss.unfitted({"target": {"name": "plain"}})


class Unstacked(nn.Module):
    """A head without a stacked form, with its own dropout and a buffer."""

    def __init__(self, in_dim: int, out_dim: int, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(in_dim, width),
            nn.BatchNorm1d(width),
            nn.Tanh(),
            nn.Dropout(0.2),
            nn.Linear(width, out_dim),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


HEADS = {
    "mlp": lambda a, o: MLPHead(a, o, 144, 3, 0.1, True),
    "odd": lambda a, o: MLPHead(a, o, 37, 2, 0.3, True),
    "direct": lambda a, o: MLPHead(a, o, None, 1, 0.0, True),
    "dense": lambda a, o: DenseHead(a, o, "swiglu"),
    "unstacked": lambda a, o: Unstacked(a, o, 11),
}


def train(
    head: Head,
    seeds: list[int],
    steps: int,
    leave_at: tuple[int, list[int]] | None = None,
    dtype: torch.dtype = torch.float32,
    batch: int = 16,
) -> Population:
    """Plain loop over the parts; ``leave_at`` = (step, places that stay)."""
    split = ragged([5, 0, 3, 9, 1, 4, 4, 2] * 8)
    hits = to_hits(split, dtype=dtype)
    y = torch.randn((64, 4), generator=torch.Generator().manual_seed(3), dtype=dtype)
    population = Population(lambda: build_member(PLAIN, 5, 4, 4, head), PLAIN, seeds, dtype=dtype)
    batches, optimiser = Batches(seeds, 64, batch), AdamW(population.weights, 0.01)
    for step in range(steps):
        if leave_at is not None and step == leave_at[0]:
            for part in (population, batches, optimiser):
                part.keep(leave_at[1])
        rows = batches.next()
        loss = LOSS.of_members(population.forward(hits, rows), y[rows]).sum()
        (grads,) = torch.autograd.grad(loss, population.weights)
        clip_rows(grads, 1.0)
        rates = torch.full((len(population),), 1e-2, dtype=dtype)
        optimiser.step(population.weights.detach(), grads, rates)
    return population


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_alone_and_in_any_stack_bit_for_bit(head: Head) -> None:
    together = train(head, [7, 1, 9, 4, 2], 6)
    for place, seed in enumerate(together.seeds):
        alone = train(head, [seed], 6).member_weights(0)
        for name, value in together.member_weights(place).items():
            assert torch.equal(value, alone[name]), name


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_compaction_changes_nothing(head: Head) -> None:
    compacted = train(head, [7, 1, 9], 6, leave_at=(3, [0, 2]))
    assert compacted.seeds == [7, 9]
    for place, seed in enumerate(compacted.seeds):
        alone = train(head, [seed], 6).member_weights(0)
        for name, value in compacted.member_weights(place).items():
            assert torch.equal(value, alone[name]), name


def test_seeds_differ_in_everything_random() -> None:
    split = ragged([3] * 64)
    a, b = (train(HEADS["mlp"], [s], 0).weights for s in (0, 1))
    assert not torch.equal(a, b)
    rows = Batches([0, 1], len(split.query), 16).next()
    assert not torch.equal(rows[0], rows[1])
    population = train(HEADS["mlp"], [0, 1], 0)
    masks = population._drop(torch.ones((2, 64, 8)), 0.5)
    assert not torch.equal(masks[0], masks[1])


def test_every_track_once_an_epoch() -> None:
    batches = Batches([3, 4], 20, 5)
    epoch = torch.cat([batches.next() for _ in range(batches.per_epoch)], dim=1)
    for row in epoch:
        assert sorted(row.tolist()) == list(range(20))


@pytest.mark.parametrize("probability", [0.05, 0.1, 0.5, 0.9])
def test_dropout_rate_and_expectation(probability: float) -> None:
    population = train(HEADS["mlp"], [0], 0)
    dropped = population._drop(torch.ones((1, 500, 400)), probability)
    assert abs((dropped == 0).double().mean() - probability) < 4 * (0.25 / 200_000) ** 0.5
    kept = dropped[dropped > 0]
    np.testing.assert_allclose(kept, 1 / (1 - probability), rtol=2e-4)


@pytest.mark.slow
def test_thirty_steps_equal_torch_in_double_precision() -> None:
    """Against torch.optim.AdamW and the ordinary module, within 1e-12."""
    split = ragged([5, 0, 3, 9, 1, 4, 4, 2] * 8)
    head = lambda a, o: MLPHead(a, o, 12, 3, 0.0, True)  # noqa: E731
    population = train(head, [5], 30, dtype=torch.float64, batch=64)
    start = train(head, [5], 0, dtype=torch.float64)
    own = {n: v.requires_grad_() for n, v in start.member_weights(0).items()}
    module = head(36, 4).double()
    optimiser = torch.optim.AdamW(own.values(), lr=1e-2, weight_decay=0.01)
    y = torch.randn((64, 4), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for _ in range(30):
        optimiser.zero_grad()
        pooled = dense(PLAIN, own, split, torch.float64)
        head_params = {n.removeprefix("head."): v for n, v in own.items() if n[:5] == "head."}
        out = torch.func.functional_call(module, head_params, (pooled,))
        torch.nn.functional.smooth_l1_loss(out, y).backward()
        torch.nn.utils.clip_grad_norm_(own.values(), 1.0)
        optimiser.step()
    for name, value in population.member_weights(0).items():
        torch.testing.assert_close(value, own[name].detach(), rtol=0, atol=1e-12)


def test_members_have_their_own_rates_and_clipping() -> None:
    weights = torch.ones((2, 64))
    AdamW(weights, 0.0).step(weights, torch.ones((2, 64)), torch.tensor([0.0, 0.1]))
    assert (weights[0] == 1).all()
    torch.testing.assert_close(weights[1], torch.full((64,), 0.9))
    grads = torch.stack([torch.ones(64), torch.full((64,), 1e-3)])
    norms = clip_rows(grads, 1.0)
    torch.testing.assert_close(norms, torch.tensor([8.0, 8e-3]))
    torch.testing.assert_close(grads.norm(dim=1), torch.tensor([1.0, 8e-3]))


def test_load_gives_back_what_was_saved() -> None:
    trained = train(HEADS["unstacked"], [1, 2], 3)
    saved = [trained.member_weights(k) for k in range(2)]
    fresh = train(HEADS["unstacked"], [8, 9], 0)
    fresh.load(saved)
    hits = to_hits(ragged([2, 0, 5]))
    tracks = torch.arange(3)
    assert torch.equal(fresh.predict(hits, tracks), trained.predict(hits, tracks))
