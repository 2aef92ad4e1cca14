"""The fit of the momentum resolution against pT, with errors from a bootstrap over events.

A fit that describes the bins badly is treated as the Particle Data Group treats an average of
values that do not agree ("Introduction", section 5.2.2 of the Review of Particle Physics): with
S = sqrt(chi2/ndf) above 1 all errors are multiplied by S; far above, no value is given.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.special import ndtri

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


MAX_SCALE = 2.0
"""Largest S with which coefficients are given: beyond, chi2/ndf is above 4."""


@dataclass(frozen=True)
class ResolutionFit:
    """r68 = r0 / pT, r1 and r2 pT added in quadrature, or why there are no values.

    Attributes:
        bins: Usable bins.
        r: r0 in GeV (energy loss), r1 (scattering), r2 in 1/GeV (position error), each >= 0;
            ``None`` if not fitted, or if the fit does not describe the bins.
        errors: Their bootstrap errors, times S.
        limits: Of a coefficient at its bound 0 the upper limit at 95%, else None.
        chi2: Of the squared r68 against the model, with bootstrap errors; NaN if not fitted.
        ndf: Bins - 3, also where a coefficient is held at 0.
        scale: S, at least 1.
    """

    bins: int
    r: tuple[float, float, float] | None = None
    errors: tuple[float, float, float] | None = None
    limits: tuple[float | None, float | None, float | None] = (None, None, None)
    chi2: float = math.nan
    ndf: int = 0
    scale: float = 1.0

    def __str__(self) -> str:
        if math.isnan(self.chi2):
            return f"not fitted ({self.bins} of {LOG_BINS} log bins usable, {MIN_BINS} needed)"
        quality = f"chi2/ndf = {self.chi2:.1f}/{self.ndf}"
        if self.r is None or self.errors is None:
            return f"fit does not describe the bins ({quality})"
        names = (("r0", " GeV"), ("r1", ""), ("r2", " /GeV"))
        terms = [
            f"{name} = {Estimate(value, error, self.bins).text()}{unit}"
            if limit is None
            else f"{name} < {limit:.2g}{unit} (95%)"
            for (name, unit), value, error, limit in zip(
                names, self.r, self.errors, self.limits, strict=True
            )
        ]
        scaled = f", errors times {self.scale:.1f}" if self.scale > 1 else ""
        return f"{', '.join(terms)}, {quality}{scaled}"


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
    pt = np.array([math.exp(log_pt[bin_ == b].mean()) for b in usable])
    return _fit(pt, squares, replicas, math.exp(log_pt.mean()))


def _fit(pt: Array, squares: Array, replicas: Array, scale: float) -> ResolutionFit:
    """Fit bins.

    Args:
        pt: Of each bin in GeV, [B].
        squares: r68^2 of each bin, [B].
        replicas: The same on resampled events, [R, B].
        scale: A pT in GeV, in units of which the three columns are of one size.
    """
    sigma = replicas.std(axis=0, ddof=1)
    pt = pt / scale
    design = np.stack([pt**-2, np.ones_like(pt), pt**2], axis=1) / sigma[:, None]
    unit = np.array([scale, 1.0, 1 / scale])

    solution, distance = nnls(design, squares / sigma)
    chi2, ndf = float(distance) ** 2, len(pt) - 3
    worse = max(1.0, math.sqrt(chi2 / ndf))
    if worse > MAX_SCALE:
        return ResolutionFit(bins=len(pt), chi2=chi2, ndf=ndf, scale=worse)
    spread = np.std([np.sqrt(nnls(design, y / sigma)[0]) for y in replicas], axis=0, ddof=1)
    # A limit on r^2 at its bound: 0 and 1.64 errors of a fit that may go below 0.
    free = np.linalg.lstsq(design, (replicas / sigma).T)[0].std(axis=1, ddof=1)
    most = np.sqrt(float(ndtri(0.95)) * free * worse) * unit
    r0, r1, r2 = (float(v) for v in np.sqrt(solution) * unit)
    e0, e1, e2 = (float(v) for v in spread * unit * worse)
    l0, l1, l2 = (float(m) if at == 0 else None for m, at in zip(most, solution, strict=True))
    return ResolutionFit(
        bins=len(pt),
        r=(r0, r1, r2),
        errors=(e0, e1, e2),
        limits=(l0, l1, l2),
        chi2=chi2,
        ndf=ndf,
        scale=worse,
    )
