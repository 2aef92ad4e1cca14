"""K members of one architecture trained at once: stacked weights, own seeds, own rates.

All weights of a member lie in one row of a [K, N] buffer, of which the named parameters are
views. Whatever acts per member (norms, AdamW, stopping, compaction) acts on rows. Everything
random in a member (initial weights, batch order, dropout) comes from its seed alone, never from
its place in the stack, so a member gives the same result alone and in any company.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from headsweep.config import PoolingConfig
from headsweep.heads.base import run_members
from headsweep.training.pooling import Hits, aggregated_dim, build_projection, pool

ROW_ALIGNMENT = 64
"""Rows are padded to this many numbers, so that every row meets the same vector instructions."""

_PURPOSES = ("init", "order", "dropout", "head")


class Member(nn.Module):
    """Trained modules of one member: two projections and a head; ``Population`` runs K of them."""

    def __init__(self, raw: nn.Module | None, encoded: nn.Module | None, head: nn.Module) -> None:
        super().__init__()
        self.raw = raw
        self.encoded = encoded
        self.head = head


def build_member(
    config: PoolingConfig,
    inputs: int,
    dim: int,
    outputs: int,
    head: Callable[[int, int], nn.Module],
    estimate: int = 0,
) -> Member:
    """Build one member with fresh weights from torch's global generator.

    Args:
        config: The projections and what is pooled.
        inputs: Number of raw hit features, F.
        dim: Width of the frozen transformer, D.
        outputs: Number of outputs, O.
        head: Called with (aggregated_dim, outputs).
        estimate: Length of an analytic estimate that the head is given, ``targets.estimate_dim``.
    """
    raw = build_projection(config, inputs, dim) if config.raw else None
    encoded = build_projection(config, dim, dim) if config.encoded else None
    return Member(raw, encoded, head(aggregated_dim(config, dim, estimate), outputs))


def purpose_seed(seed: int, purpose: str) -> int:
    """Seed of one random stream of a member, in [0, 2**63)."""
    words = np.random.SeedSequence([seed, _PURPOSES.index(purpose)]).generate_state(1, np.uint64)
    return int(words[0] >> 1)


class Population:
    """K members and the random streams that belong to them.

    Args:
        build: Builds one member with fresh weights.
        config: The pooling that feeds the heads.
        seeds: One seed for each member.
        device: The device to train on.
        dtype: Precision of the weights.

    Attributes:
        dropout: Probability of each member's dropouts [K]; None for those that its head was built
            with, which then all members share.
        kept: Memory that ``direct.py`` keeps from step to step, while the stack stays the same.
    """

    def __init__(
        self,
        build: Callable[[], Member],
        config: PoolingConfig,
        seeds: Sequence[int],
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.config = config
        self.seeds = list(seeds)
        self.training = True
        self.dropout: list[float] | None = None
        members = [_seeded(build, seed).to(device=device, dtype=dtype) for seed in seeds]
        self.template = members[0]
        shapes = {name: value.shape for name, value in self.template.named_parameters()}
        used = sum(shape.numel() for shape in shapes.values())
        self._shapes = shapes
        self._sizes = [*(shape.numel() for shape in shapes.values()), -used % ROW_ALIGNMENT]
        self.weights = torch.zeros((len(members), sum(self._sizes)), dtype=dtype, device=device)
        for row, member in zip(self.weights, members, strict=True):
            row[:used] = nn.utils.parameters_to_vector(member.parameters()).detach()
        self.weights.requires_grad_()
        self.buffers = {
            name: torch.stack([dict(m.named_buffers())[name] for m in members])
            for name, _ in self.template.named_buffers()
        }
        self._dropout = [_generator(seed, "dropout", device) for seed in seeds]
        self._head_rng = [_generator(seed, "head", "cpu").get_state() for seed in seeds]
        self.kept: object = None

    def __len__(self) -> int:
        return len(self.seeds)

    def named(self, rows: Tensor) -> dict[str, Tensor]:
        """Views [K, ...] by parameter name of rows like ``weights``, or of their gradients."""
        parts = torch.split(rows, self._sizes, dim=1)
        return {
            name: torch.unflatten(part, 1, shape)
            for (name, shape), part in zip(self._shapes.items(), parts, strict=False)
        }

    def forward(self, hits: Hits, rows: Tensor) -> Tensor:
        """Outputs [K, B, O] for the tracks ``rows`` [K, B] of each member."""
        params = self.named(self.weights)
        pooled = pool(self.config, params, hits, rows)
        own = {
            key.removeprefix("head."): value
            for key, value in (params | self.buffers).items()
            if key.startswith("head.")
        }
        self.template.train(self.training)
        return run_members(self.template.head, own, pooled, self._drop, self._head_rng)

    def predict(self, hits: Hits, tracks: Tensor, batch: int = 1024) -> Tensor:
        """Outputs [K, T, O] of every member for the same tracks [T], in evaluation mode."""
        self.training = False
        try:
            with torch.no_grad():
                parts = [
                    self.forward(hits, part.expand(len(self), -1).contiguous())
                    for part in torch.split(tracks, batch)
                ]
        finally:
            self.training = True
        return torch.cat(parts, dim=1)

    def _drop(self, x: Tensor, probability: float) -> Tensor:
        """Apply dropout with a separate mask per member, its probability in steps of 2**-16."""
        thresholds = self.drop_thresholds(probability)
        if not self.training or not any(thresholds):
            return x
        count = x[0].numel()
        words = torch.empty((len(self), -(-count // 4)), dtype=torch.int64, device=x.device)
        bits = self.draw(words)[:, :count].view_as(x)
        if len({*thresholds}) == 1:
            threshold = thresholds[0]
            keep = (bits >= threshold - 2**15).to(x.dtype)
            return x * keep.mul_(2**16 / (2**16 - threshold))
        each = [-1, *([1] * (x.dim() - 1))]
        lowest = [threshold - 2**15 for threshold in thresholds]
        keep = (bits >= torch.tensor(lowest, dtype=bits.dtype, device=x.device).view(each)).to(
            x.dtype
        )
        return x * keep.mul_(x.new_tensor([2**16 / (2**16 - t) for t in thresholds]).view(each))

    def drop_thresholds(self, probability: float) -> list[int]:
        """Probability of each member's dropout in steps of 2**-16, less than 1 [K].

        Args:
            probability: That of the head, for members without one of their own.
        """
        own = self.dropout or [probability] * len(self)
        return [min(round(p * 2**16), 2**16 - 1) for p in own]

    def draw(self, words: Tensor) -> Tensor:
        """Fill int64 [K, n] from the members' streams for dropout, and view it as int16 [K, 4n]."""
        for row, generator in zip(words, self._dropout, strict=True):
            row.random_(-(2**63), None, generator=generator)
        return words.view(torch.int16)

    def member_weights(self, k: int) -> dict[str, Tensor]:
        """A copy of the named weights and buffers of the member at place ``k``."""
        named = self.named(self.weights.detach()) | self.buffers
        return {name: value[k].clone() for name, value in named.items()}

    def load(self, weights: Sequence[Mapping[str, Tensor]]) -> None:
        """Set the named weights and buffers of each member."""
        named = self.named(self.weights.detach()) | self.buffers
        for k, own in enumerate(weights):
            for name, value in named.items():
                value[k] = own[name]

    def keep(self, alive: Sequence[int]) -> None:
        """Compact the stack to the members at these places, in this order."""
        self.seeds = [self.seeds[k] for k in alive]
        self.dropout = self.dropout and [self.dropout[k] for k in alive]
        self._dropout = [self._dropout[k] for k in alive]
        self._head_rng = [self._head_rng[k] for k in alive]
        self.weights = self.weights.detach()[list(alive)].requires_grad_()
        self.buffers = {name: value[list(alive)] for name, value in self.buffers.items()}
        self.kept = None


def _generator(seed: int, purpose: str, device: str) -> torch.Generator:
    return torch.Generator(device=device).manual_seed(purpose_seed(seed, purpose))


def _seeded(build: Callable[[], Member], seed: int) -> Member:
    """Build a member whose initial weights depend on its seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(purpose_seed(seed, "init"))
        return build()


class Batches:
    """Batches of training tracks, shuffled anew every epoch, each member in its own order.

    Args:
        seeds: One seed for each member.
        tracks: Number of training tracks.
        batch_size: Tracks in a batch; the rest of an epoch that fills no batch is left out.
    """

    def __init__(self, seeds: Sequence[int], tracks: int, batch_size: int) -> None:
        self.size = min(batch_size, tracks)
        self.per_epoch = tracks // self.size
        self._tracks = tracks
        self._generators = [_generator(seed, "order", "cpu") for seed in seeds]
        self._orders = torch.empty((len(seeds), 0), dtype=torch.int64)
        self._next = self.per_epoch

    def next(self) -> Tensor:
        """Tracks of the next step, int64 [K, B]."""
        if self._next == self.per_epoch:
            self._orders = torch.stack(
                [torch.randperm(self._tracks, generator=g) for g in self._generators]
            )
            self._next = 0
        start = self._next * self.size
        self._next += 1
        return self._orders[:, start : start + self.size].contiguous()

    def keep(self, alive: Sequence[int]) -> None:
        """Keep the members at these places."""
        self._generators = [self._generators[k] for k in alive]
        self._orders = self._orders[list(alive)]


class AdamW:
    """AdamW (Loshchilov and Hutter, 2019) on rows of weights, each with its own rate.

    Args:
        weights: The rows [K, N]; updated in place by ``step``.
        weight_decay: Decoupled decay, times the rate; one of all rows, or of each [K].
    """

    BETAS = (0.9, 0.999)
    EPS = 1e-8

    def __init__(self, weights: Tensor, weight_decay: float | Sequence[float]) -> None:
        decay = torch.as_tensor(weight_decay, dtype=weights.dtype, device=weights.device)
        self._decay = decay.expand(len(weights)).unsqueeze(1)
        self._mean = torch.zeros_like(weights)
        self._square = torch.zeros_like(weights)
        self._steps = 0

    def step(self, weights: Tensor, grads: Tensor, rates: Tensor) -> None:
        """Update the rows once, with rates [K]."""
        self._steps += 1
        first, second = self.BETAS
        rate = rates.unsqueeze(1)
        weights.mul_(1 - rate * self._decay)
        self._mean.lerp_(grads, 1 - first)
        self._square.mul_(second).addcmul_(grads, grads, value=1 - second)
        scale = (1 - second**self._steps) ** 0.5
        denominator = self._square.sqrt().div_(scale).add_(self.EPS)
        update = torch.div(self._mean, denominator, out=denominator)
        weights.addcmul_(update, rate / -(1 - first**self._steps))

    def keep(self, alive: Sequence[int]) -> None:
        """Keep the rows at these places."""
        self._decay = self._decay[list(alive)]
        self._mean = self._mean[list(alive)]
        self._square = self._square[list(alive)]


def clip_rows(grads: Tensor, largest: float | Tensor) -> Tensor:
    """Scale every row of gradients [K, N] to a norm of at most ``largest``, a number or [K].

    Returns:
        The norms before, [K].
    """
    norms: Tensor = torch.linalg.vector_norm(grads, dim=1)
    # A number over a tensor is rounded as the number times an inverse; [K] must be rounded alike.
    grads.mul_(((norms + 1e-6).reciprocal() * largest).clamp_max(1).unsqueeze(1))
    return norms
