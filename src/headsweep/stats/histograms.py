"""Histograms whose outermost bins hold all that lies beyond."""

import numpy as np

from headsweep.stats.tracks import Array

RHO_EDGES = np.linspace(-3, 3, 61)
"""Edges of the bins of rho: a wrong charge gives about -2."""

PULL_EDGES = np.linspace(-5, 5, 51)
"""Edges of the bins of a pull, in uncertainties."""


def shares(values: Array, edges: Array) -> Array:
    """Share of the values in each bin, [B]; NaN of nothing. A value of NaN lies beyond the last.

    Args:
        values: [T].
        edges: Ascending, [B + 1]; what lies beyond them is in the outermost bins.
    """
    at = np.digitize(np.nan_to_num(values, nan=np.inf), edges[1:-1])
    counts = np.bincount(at, minlength=len(edges) - 1)
    return counts / len(values) if len(values) else np.full(len(edges) - 1, np.nan)
