"""Made-up configurations in which each of the six claims is true or false by construction."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache

import numpy as np

from headsweep.config import DesignConfig, MLPHeadConfig, PoolingConfig
from headsweep.report.claims import ClaimResult, find_claims
from headsweep.report.comparisons import LooksAt
from headsweep.report.predictions import HeadRow, Sample
from headsweep.report.seed_looks import SeedLooks
from headsweep.stats.bins import Bins
from headsweep.stats.tracks import Tracks
from headsweep.store.labels import Block
from helpers.head_rows import make_head_row
from helpers.toy_runs import PT_EDGES, normal_grid

N = 12
PER_BIN = 240
PT = np.exp(np.linspace(np.log(5.0), np.log(200.0), 5 * PER_BIN, endpoint=False))
"""Over the five quoted bins; 10 to 20 GeV has 225 tracks, as the others about."""

HEAD: dict[str, object] = {"regression_hidden_dim": 144}
HEADS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "conservative": ({}, {}),
    "direct": ({"regression_num_layers": 1}, {}),
    "no dropout": ({"dropout": 0.0}, {}),
    "half": ({}, {"width": "half"}),
    "before": ({"regression_num_layers": 1}, {"width": "half"}),
}


def config(role: str) -> dict[str, object]:
    """What a claim looks at in a resolved configuration."""
    head, pooling = HEADS[role]
    return {
        "data": {
            "source": {},
            "split": {"folds": None, "fold": 0},
            "selection": {"min_stations": 0},
        },
        "backbone": {},
        "target": {"standardise": True, "pt_unit": 1.0},
        "pooling": asdict(PoolingConfig(**pooling)),  # type: ignore[arg-type]
        "head": asdict(MLPHeadConfig(**HEAD | head)),  # type: ignore[arg-type]
        "optim": {"lr": 0.08},
    }


def seeds(spread: float, shift: int) -> np.ndarray:
    """Factors of the seeds, around 1: their logs have exactly the quantiles of a normal."""
    return np.exp(spread * normal_grid(N, shift))


def row(
    label: str,
    *,
    rho: float = 0.1,
    high: float = 1.0,
    eta: float = 0.01,
    spread: float = 0.02,
    losses: Mapping[str, float] | None = None,
    folds: int | None = None,
) -> HeadRow:
    """Twelve seeds; r68 is ``rho``, above 50 GeV times ``high``, eta_abs68 is ``eta``."""
    shift = sum(map(ord, label))
    events = np.arange(len(PT)) // 2
    q = np.where(np.arange(len(PT)) % 3, 1.0, -1.0)
    truth = np.stack([np.zeros(len(PT)), np.zeros(len(PT)), PT, q], axis=1)
    factors, trends, samples = seeds(spread, shift), seeds(0.02, shift + 9), []
    scalars = {"gap": 1.3, "last_dev_loss": 0.02, "loss_at_10pct": 0.1, **(losses or {})}
    of_losses = {name: v * seeds(0.02, shift + i) for i, (name, v) in enumerate(scalars.items())}
    for s, factor in enumerate(factors):
        errors = normal_grid(len(PT), 7)  # the same of all arms: events do not matter
        width = rho * factor * np.where(PT >= 50, high * trends[s], 1.0)
        kappa = q / PT * (1 + width * errors)
        estimate = np.stack([eta * factor * errors, 0 * PT, 1 / np.abs(kappa), np.sign(kappa)], 1)
        tracks = Tracks.from_estimate(events, truth, estimate)
        own = {name: float(values[s]) for name, values in of_losses.items()}
        block = Block(s // folds, s % folds) if folds else Block(0, 0)
        samples.append(Sample(tracks, np.ones(len(PT), dtype=bool), own, block, seed=s))
    return make_head_row(label, samples, folds=folds)


def judged(
    rows: Sequence[HeadRow],
    fewest: int = 200,
    objections: Mapping[str, str] | None = None,
    looks: LooksAt = lambda labels: None,
    until: SeedLooks | None = None,
    **design: int,
) -> dict[str, ClaimResult]:
    found = find_claims(
        rows,
        [config(row.label) for row in rows],
        DesignConfig(kind="claims", **design),  # type: ignore[arg-type]
        objections or {},
        Bins(tuple(PT_EDGES), fewest),
        np.random.default_rng(0),
        looks,
        until,
    )
    return {claim.name: claim for claim in found}


def arms(sign: float, folds: int | None = None) -> list[HeadRow]:
    """Every claim is true for sign 1, and wrong by as much for sign -1."""
    factor = math.exp(0.3 * sign)

    def other(label: str, **more: float | Mapping[str, float]) -> HeadRow:
        return row(label, folds=folds, **more)  # type: ignore[arg-type]

    return [
        other("conservative"),
        other(
            "direct",
            rho=0.1 * factor,
            high=factor,
            eta=0.01 * factor,
            spread=0.02 * math.exp(1.5 * sign),
            losses={"last_dev_loss": 0.02 * factor, "loss_at_10pct": 0.1 / factor},
        ),
        other("no dropout", losses={"gap": 1.3 * factor, "last_dev_loss": 0.02 * factor}),
        other("half", rho=0.1 * factor),
        other("before", rho=0.1 * factor),
    ]


@cache
def judged_arms(sign: float) -> Mapping[str, ClaimResult]:
    """The claims of ``arms``, judged once for all tests of a process."""
    return judged(arms(sign))
