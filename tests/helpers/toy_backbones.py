"""Backbones that need no training, and the way back from what a cache standardised."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from headsweep.backbone.base import BackboneBatch, truth_masks
from headsweep.backbone.truth import TruthBackbone
from headsweep.events.base import Events
from headsweep.features.cache import ColumnScale, Features


@dataclass(frozen=True)
class RandomBackbone:
    """Truth spoilt at random, different for each event; with vectors that tell hits apart."""

    seed: int = 0
    spoilt: float = 0.3
    dim: int = 3

    def key(self) -> str:
        return f"{self.seed:08d}{self.spoilt:.6f}"

    def one(self, events: Events, event: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([self.seed, events.ids[event]])
        truth = truth_masks(events, event)
        p = rng.uniform(size=(2, truth.shape[1]))
        for q, mask in zip(p, rng.permutation(truth), strict=False):
            q[:] = np.where(rng.random(len(q)) < self.spoilt, q, np.where(mask, 0.8, 0.02))
        return {
            "query": rng.normal(size=(2, 3)),
            "encoded": rng.normal(size=(truth.shape[1], 3)),
            "p": p.astype(np.float32),
        }

    def run(self, events: Events) -> Iterator[BackboneBatch]:
        for start in range(0, len(events), 10):
            rows = slice(start, min(start + 10, len(events)))
            alone = [self.one(events, event) for event in range(rows.start, rows.stop)]
            width = max(len(a["encoded"]) for a in alone)
            pad = [(0, 0), (0, 0)]
            yield BackboneBatch(
                events=rows,
                query=np.array([a["query"] for a in alone], np.float32),
                encoded=np.array(
                    [
                        np.pad(e, [(0, width - len(e)), (0, 0)])
                        for e in (a["encoded"] for a in alone)
                    ],
                    np.float32,
                ),
                p=np.array(
                    [np.pad(p, [pad[0], (0, width - p.shape[1])]) for p in (a["p"] for a in alone)]
                ),
                valid=np.ones((len(alone), 2), np.float32),
            )


@dataclass(frozen=True)
class OneQuery:
    """One query an event, which likes the hits of the first true track best."""

    dim: int = 3

    def key(self) -> str:
        return "0" * 16

    def run(self, events: Events) -> Iterator[BackboneBatch]:
        for event, (first, last) in enumerate(
            zip(events.hit_offsets[:-1], events.hit_offsets[1:], strict=True)
        ):
            rng = np.random.default_rng(events.ids[event])
            p = np.where(truth_masks(events, event)[0], 0.9, 0.6).astype(np.float32)
            yield BackboneBatch(
                events=slice(event, event + 1),
                query=rng.normal(size=(1, 1, 3)).astype(np.float32),
                encoded=rng.normal(size=(1, last - first, 3)).astype(np.float32),
                p=p[None, None],
                valid=np.ones((1, 1), np.float32),
            )


@dataclass(frozen=True)
class Knows(TruthBackbone):
    """A backbone that has seen some events."""

    seen: Any = None


def undo(scale: ColumnScale, values: np.ndarray) -> np.ndarray:
    return values * np.array(scale.std) + np.array(scale.mean)


def rows(features: Features) -> list[tuple[float, ...]]:
    """What identifies each track: its event and its truth."""
    return [(e, *t) for e, t in zip(features.event, features.truth.tolist(), strict=True)]
