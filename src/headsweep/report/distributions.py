"""Distributions of errors and pulls of a configuration, and its resolution in two dimensions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from headsweep.report.predictions import HeadRow
from headsweep.stats.bins import ABS_ETA, pt_axis
from headsweep.stats.histograms import PULL_EDGES, RHO_EDGES, shares
from headsweep.stats.metrics import METRICS
from headsweep.stats.tracks import Array, Tracks
from headsweep.stats.widths import abs68

RHO = "rho"
PULLS = {"eta": "eta_pull_r68", "phi": "phi_pull_r68", "q/pT": "qoverpt_pull_r68"}
"""Quantities with a pull, and the metric that has it for each track."""

FEWEST_TRACKS = 20
"""A cell of two dimensions with fewer tracks has no figure."""


@dataclass(frozen=True)
class Distribution:
    """A histogram, the mean over the members of a configuration.

    Attributes:
        label: The configuration.
        quantity: ``rho``, or ``eta``, ``phi`` or ``q/pT`` for its pull.
        low: Lower end of the bin of pT in GeV; 0 for the underflow and for all pT.
        high: Upper end, infinite for the overflow and for all pT.
        tracks: Tracks of one member in it.
        shares: Share of the tracks in each bin of ``histograms.RHO_EDGES`` or ``PULL_EDGES``.
    """

    label: str
    quantity: str
    low: float
    high: float
    tracks: int
    shares: list[float]


@dataclass(frozen=True)
class ResolutionMap:
    """r68 of a configuration in bins of |eta| and pT, the mean over its members.

    Attributes:
        label: The configuration.
        r68: For each bin of |eta| one value for each bin of pT, NaN in cells of few tracks.
        tracks: Tracks of one member in each cell.
    """

    label: str
    r68: list[list[float]]
    tracks: list[list[int]]


def find_distributions(row: HeadRow, pt_edges: Sequence[float]) -> Iterator[Distribution]:
    """Rho in each bin of pT, and the pulls of a configuration that gives uncertainties."""
    parts = [sample.tracks for sample in row.pooled()]
    if not parts:
        return
    axis = pt_axis(pt_edges)
    index = [axis.index(tracks) for tracks in parts]
    for at, (low, high) in enumerate(pairwise(axis.edges)):
        inside = [tracks.rho[own == at] for tracks, own in zip(parts, index, strict=True)]
        yield _distribution(row.label, RHO, low, high, inside, RHO_EDGES)
    if all(METRICS[name].applies(tracks) for name in PULLS.values() for tracks in parts):
        for quantity, name in PULLS.items():
            pull = METRICS[name].residual
            assert pull is not None
            values = [pull(tracks) for tracks in parts]
            yield _distribution(row.label, quantity, 0.0, np.inf, values, PULL_EDGES)


def _distribution(
    label: str, quantity: str, low: float, high: float, values: Sequence[Array], edges: Array
) -> Distribution:
    """The mean histogram of several members."""
    mean = np.mean([shares(own, edges) for own in values], axis=0)
    tracks = round(np.mean([len(own) for own in values]))
    return Distribution(label, quantity, low, high, tracks, mean.tolist())


def resolution_map(row: HeadRow, pt_edges: Sequence[float]) -> ResolutionMap:
    """r68 of a configuration with members in bins of |eta| and pT."""
    r68, counts = zip(*(_cells(s.tracks, pt_edges) for s in row.pooled()), strict=True)
    tracks = np.mean(counts, axis=0)
    few = tracks < FEWEST_TRACKS
    found = np.where(few, np.nan, np.mean(r68, axis=0))
    return ResolutionMap(row.label, found.tolist(), tracks.round().astype(int).tolist())


def _cells(tracks: Tracks, pt_edges: Sequence[float]) -> tuple[Array, Array]:
    """r68 and number of tracks in each cell, [E, P]."""
    axis = pt_axis(pt_edges)
    shape = len(ABS_ETA.edges) - 1, len(axis.edges) - 1
    cell = np.ravel_multi_index((ABS_ETA.index(tracks), axis.index(tracks)), shape)
    ends = np.cumsum(np.bincount(cell, minlength=shape[0] * shape[1]))
    parts = np.split(tracks.rho[np.argsort(cell, kind="stable")], ends[:-1])
    r68 = np.array([abs68(part) for part in parts]).reshape(shape)
    return r68, np.array([len(part) for part in parts], dtype=np.float64).reshape(shape)
