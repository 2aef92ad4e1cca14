"""The naive loop: one member, written from the document, over dense padded tensors [B, N, M, D].

B events have N tracks and M hits; every track sees every hit of its event, and a mask says which
are its own. Hits, projections and the gradients of all of them are kept for every pair.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from headsweep.features.cache import Features


@dataclass
class Event:
    """Hits of an event and its tracks.

    Attributes:
        raw: [M, F].
        encoded: [M, D].
        p: Probability that a hit belongs to a track; 0 below the threshold [N, M].
        query: [N, D].
        target: [N, O].
    """

    raw: Tensor
    encoded: Tensor
    p: Tensor
    query: Tensor
    target: Tensor


class Events(Dataset[Event]):
    """The tracks of a split in their events, among hits of no track.

    Args:
        split: The tracks.
        targets: Encoded targets [T, O].
        hits: Hits of each event; one whose tracks have more has no others.
    """

    def __init__(self, split: Features, targets: Tensor, hits: NDArray[np.int64]) -> None:
        rng = np.random.default_rng(0)
        _, first = np.unique(split.event, return_index=True)
        tracks = np.split(np.arange(len(split)), np.sort(first)[1:])
        self.events = []
        for own, at_least in zip(tracks, hits, strict=False):
            slices = [slice(split.offsets[t], split.offsets[t + 1]) for t in own]
            ends = np.cumsum([0, *(s.stop - s.start for s in slices)])
            size = max(int(at_least), int(ends[-1]))
            p = torch.zeros((len(own), size))
            values = {}
            for name in ("raw", "encoded"):
                found = getattr(split, name)
                all_ = rng.standard_normal((size, found.shape[1]), np.float32)
                all_[: ends[-1]] = np.concatenate([found[s] for s in slices])
                values[name] = torch.from_numpy(all_)
            for n, s in enumerate(slices):
                p[n, ends[n] : ends[n + 1]] = torch.from_numpy(np.array(split.p[s]))
            query = torch.from_numpy(np.array(split.query[own]))
            self.events.append(Event(**values, p=p, query=query, target=targets[own]))

    def __len__(self) -> int:
        return len(self.events)

    def __getitem__(self, index: int) -> Event:
        return self.events[index]


def collate(events: Sequence[Event]) -> tuple[Tensor, ...]:
    """Pad to the most hits and tracks of the batch.

    Returns:
        raw [B, M, F], encoded [B, M, D], p [B, N, M], query [B, N, D], target [B, N, O], and which
        tracks are there [B, N].
    """
    n, m = max(len(e.query) for e in events), max(len(e.raw) for e in events)

    def pad(values: Tensor, *sizes: int) -> Tensor:
        ends = [(0, size - have) for size, have in zip(sizes, values.shape, strict=False)]
        flat = [end for pair in reversed(ends) for end in pair]
        return F.pad(values, [0, 0] * (values.dim() - len(sizes)) + flat)

    return (
        torch.stack([pad(e.raw, m) for e in events]),
        torch.stack([pad(e.encoded, m) for e in events]),
        torch.stack([pad(e.p, n, m) for e in events]),
        torch.stack([pad(e.query, n) for e in events]),
        torch.stack([pad(e.target, n) for e in events]),
        torch.arange(n) < torch.tensor([len(e.query) for e in events])[:, None],
    )


class Naive(nn.Module):
    """The document's two projections and head.

    Args:
        inputs: Raw hit features, F.
        dim: Width of the transformer, D.
        outputs: O.
    """

    def __init__(self, inputs: int, dim: int, outputs: int) -> None:
        super().__init__()
        self.raw, self.encoded = nn.Linear(inputs, dim), nn.Linear(dim, dim)
        width = 9 * dim // 2
        layers: list[nn.Module] = []
        for size in (9 * dim, width):
            layers += [nn.Linear(size, width), nn.ReLU(), nn.LayerNorm(width), nn.Dropout(0.1)]
        self.head = nn.Sequential(*layers, nn.Linear(width, outputs))

    def forward(self, raw: Tensor, encoded: Tensor, p: Tensor, query: Tensor) -> Tensor:
        """Outputs [B, N, O]."""
        mask = (p > 0).unsqueeze(-1)
        weight = p.sum(2, keepdim=True)
        parts = [query]
        for hits in (self.raw(raw), self.encoded(encoded)):
            dense = hits.unsqueeze(1).expand(-1, p.shape[1], -1, -1)
            total = (p.unsqueeze(-1) * dense).sum(2)
            highest = dense.masked_fill(~mask, -torch.inf).max(2).values
            lowest = dense.masked_fill(~mask, torch.inf).min(2).values
            any_hit = mask.any(2)
            parts += [total / weight.clamp_min(1e-8), total]
            parts += [highest.where(any_hit, 0), lowest.where(any_hit, 0)]
        out: Tensor = self.head(torch.cat(parts, dim=-1))
        return out


def step(
    model: Naive, optimiser: torch.optim.Optimizer, batch: Sequence[Tensor], clip: float
) -> float:
    """One update on what ``collate`` gives; the loss before it."""
    *inputs, target, there = batch
    loss = F.smooth_l1_loss(model(*inputs)[there], target[there])
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimiser.step()
    return loss.item()
