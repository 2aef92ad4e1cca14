"""Binned evaluation: metrics per bin of pT, eta, |eta| or phi, and the distance to a reference."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from headsweep.errors import UserError
from headsweep.stats.metrics import evaluate
from headsweep.stats.tracks import Array, Tracks, wrap_phi
from headsweep.stats.widths import core, share

FAR = 5.0
"""|rho| in units of the classical reference's core above which a track is far from it."""

MIN_CORE_TRACKS = 20
"""Fewest reference tracks from which the core of one (pT, |eta|) cell is taken."""

PHI_SECTORS = 16


@dataclass(frozen=True)
class Bins:
    """The quoted pT bins of a source.

    Attributes:
        edges: Ascending edges in GeV, without under- and overflow.
        min_tracks: Fewest tracks of a bin with a verdict.
    """

    edges: tuple[float, ...]
    min_tracks: int


@dataclass(frozen=True)
class BinAxis:
    """A quantity in which tracks are binned, and the edges of the bins.

    Attributes:
        name: Its name in tables.
        unit: Unit of the edges.
        values: The binned true quantity, from ``Tracks`` to [T].
        edges: B + 1 ascending edges; a bin holds low <= value < high.
    """

    name: str
    unit: str
    values: Callable[[Tracks], Array]
    edges: tuple[float, ...]

    def index(self, tracks: Tracks) -> NDArray[np.int64]:
        """Bin of each track, [T], 0 to B - 1."""
        found = np.digitize(self.values(tracks), self.edges) - 1
        return np.clip(found, 0, len(self.edges) - 2)


def pt_axis(pt_edges: Sequence[float]) -> BinAxis:
    """The quoted pT bins in GeV of a source, between its under- and overflow bin.

    Raises:
        UserError: The edges do not ascend or are not positive.
    """
    edges = (0.0, *(float(edge) for edge in pt_edges), math.inf)
    if len(edges) < 3 or not all(low < high for low, high in pairwise(edges)):
        raise UserError(f"pt_edges={list(pt_edges)}: must be positive and ascending, in GeV")
    return BinAxis("pt", "GeV", lambda tracks: tracks.pt_true, edges)


ABS_ETA = BinAxis(
    "abs_eta", "", lambda tracks: np.abs(tracks.eta_true), (0.0, 0.9, 1.4, 2.0, 2.7, math.inf)
)
"""Barrel, transition, two end-cap bins and the overflow."""

ETA = BinAxis(
    "eta",
    "",
    lambda tracks: tracks.eta_true,
    (*(-edge for edge in ABS_ETA.edges[:0:-1]), *ABS_ETA.edges),
)
"""The bins of ``ABS_ETA`` on either side: a shift of one side only would cancel in |eta|."""

STATIONS = (0.0, 2.0, 3.0, 4.0, 5.0, math.inf)
"""Edges of the numbers of stations with assigned hits of a track."""

PHI = BinAxis(
    "phi",
    "rad",
    lambda tracks: wrap_phi(tracks.phi_true),
    tuple(float(edge) for edge in np.linspace(-np.pi, np.pi, PHI_SECTORS + 1)),
)
"""Sixteen sectors from -pi to pi."""


def binned(tracks: Tracks, axis: BinAxis, names: Iterable[str] | None = None) -> pd.DataFrame:
    """Metrics per bin: columns low, high, n and the metrics, one row a bin, empty ones too."""
    index = axis.index(tracks)
    rows = []
    for bin_, (low, high) in enumerate(pairwise(axis.edges)):
        inside = tracks.take(index == bin_)
        rows.append({"low": low, "high": high, "n": len(inside), **evaluate(inside, names)})
    return pd.DataFrame(rows)


def _cell(tracks: Tracks, pt_edges: Sequence[float]) -> tuple[NDArray[np.int64], int]:
    """The (pT, |eta|) cell of each track, and the number of cells."""
    axis = pt_axis(pt_edges)
    n_eta = len(ABS_ETA.edges) - 1
    return axis.index(tracks) * n_eta + ABS_ETA.index(tracks), (len(axis.edges) - 1) * n_eta


def far_from_reference(tracks: Tracks, reference: Tracks, pt_edges: Sequence[float]) -> float:
    """Share of tracks with |rho| > 5 x the classical reference's core in their (pT, |eta|) cell.

    Lower is better; compared as a difference.

    Args:
        tracks: The predictions to judge.
        reference: The classical reference, on any tracks; those without an estimate are left out.
        pt_edges: The source's pT edges in GeV.

    Returns:
        The share among the tracks of cells where at least ``MIN_CORE_TRACKS`` reference tracks
        give a core; NaN without such tracks.
    """
    usable = reference.take(reference.usable)
    cells, n_cells = _cell(usable, pt_edges)
    rho = usable.rho
    cores = np.full(n_cells, np.nan)
    for cell in np.flatnonzero(np.bincount(cells, minlength=n_cells) >= MIN_CORE_TRACKS):
        cores[cell] = core(rho[cells == cell])
    limit = FAR * cores[_cell(tracks, pt_edges)[0]]
    known = np.isfinite(limit)
    return float(share(~(np.abs(tracks.rho[known]) <= limit[known])))
