"""The fit of the momentum resolution against pT, with errors from a bootstrap over events."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from headsweep.stats.bootstrap import event_resamples
from headsweep.stats.intervals import Estimate
from headsweep.stats.tracks import Array, Tracks
from headsweep.stats.widths import abs68

LOG_BINS = 12
"""Bins of equal width in ln pT over the quoted range."""

MIN_BINS = 8
"""Fewest usable bins for a fit."""

MAX_BIN_R68 = 0.3
"""A bin is used below this r68: above it the residual is no resolution any more."""

MIN_EVENTS = 20
"""Fewest events of a usable bin, so that no bootstrap resample leaves it empty."""


@dataclass(frozen=True)
class ResolutionFit:
    """r68 = r0 / pT, r1 and r2 pT added in quadrature, or why there is no fit.

    Attributes:
        bins: Usable bins.
        r: r0 in GeV (energy loss), r1 (scattering), r2 in 1/GeV (position error), each >= 0;
            ``None`` if not fitted.
        errors: Their bootstrap errors.
        chi2: Of the squared r68 against the model, with bootstrap errors.
        ndf: Bins - 3, also where a coefficient is held at 0.
    """

    bins: int
    r: tuple[float, float, float] | None = None
    errors: tuple[float, float, float] | None = None
    chi2: float = math.nan
    ndf: int = 0

    def __str__(self) -> str:
        if self.r is None or self.errors is None:
            return f"not fitted ({self.bins} of {LOG_BINS} log bins usable, {MIN_BINS} needed)"
        names = (("r0", " GeV"), ("r1", ""), ("r2", " /GeV"))
        terms = [
            f"{name} = {Estimate(value, error, self.bins).text()}{unit}"
            for (name, unit), value, error in zip(names, self.r, self.errors, strict=True)
        ]
        return f"{', '.join(terms)}, chi2/ndf = {self.chi2:.1f}/{self.ndf}"


def _squared_r68(abs_rho: Array, bin_: NDArray[np.int64], bins: NDArray[np.int64]) -> Array:
    return np.array([abs68(abs_rho[bin_ == b]) ** 2 for b in bins])


def fit_resolution(
    tracks: Tracks, low: float, high: float, rng: np.random.Generator, resamples: int = 100
) -> ResolutionFit:
    """Fit r68 of q / pT against pT by non-negative least squares on its square.

    The square of the model is linear in r0^2, r1^2 and r2^2, so that the fit is unique and needs
    no starting values.

    Args:
        tracks: Predictions; several seeds may be stacked, one event then carries all its copies.
        low: Lowest quoted pT in GeV.
        high: Highest quoted pT in GeV.
        rng: Drives the bootstrap.
        resamples: Bootstrap resamples, for the errors of bins and coefficients.
    """
    edges = np.geomspace(low, high, LOG_BINS + 1)
    bin_ = np.digitize(tracks.pt_true, edges) - 1
    abs_rho, log_pt = np.abs(tracks.rho), np.log(tracks.pt_true)
    usable = np.array(
        [
            b
            for b in range(LOG_BINS)
            if len(np.unique(tracks.event[bin_ == b])) >= MIN_EVENTS
            and 0 < abs68(abs_rho[bin_ == b]) < MAX_BIN_R68
        ],
        dtype=np.int64,
    )
    if len(usable) < MIN_BINS:
        return ResolutionFit(bins=len(usable))

    inside = np.flatnonzero(np.isin(bin_, usable))
    abs_rho, bin_, log_pt = abs_rho[inside], bin_[inside], log_pt[inside]
    squares = _squared_r68(abs_rho, bin_, usable)
    replicas = np.array(
        [
            _squared_r68(abs_rho[rows], bin_[rows], usable)
            for rows in event_resamples(tracks.event[inside], resamples, rng)
        ]
    )
    sigma = replicas.std(axis=0, ddof=1)
    # In units of the mean pT the three columns are of one size.
    scale = math.exp(log_pt.mean())
    pt = np.array([math.exp(log_pt[bin_ == b].mean()) for b in usable]) / scale
    design = np.stack([pt**-2, np.ones_like(pt), pt**2], axis=1) / sigma[:, None]
    unit = np.array([scale, 1.0, 1 / scale])

    solution, distance = nnls(design, squares / sigma)
    spread = np.std([np.sqrt(nnls(design, y / sigma)[0]) for y in replicas], axis=0, ddof=1)
    r0, r1, r2 = (float(v) for v in np.sqrt(solution) * unit)
    e0, e1, e2 = (float(v) for v in spread * unit)
    return ResolutionFit(
        bins=len(usable),
        r=(r0, r1, r2),
        errors=(e0, e1, e2),
        chi2=float(distance) ** 2,
        ndf=len(usable) - 3,
    )
