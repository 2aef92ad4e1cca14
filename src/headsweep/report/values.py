"""Figures of one configuration or reference: every metric with its interval, whole and binned."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from headsweep.report.predictions import HeadRow, ReferenceRow, Row, Sample
from headsweep.stats.bins import ABS_ETA, ETA, PHI, STATIONS, BinAxis, binned, pt_axis
from headsweep.stats.intervals import Estimate, nadeau_bengio, t_interval
from headsweep.stats.metrics import METRICS, binned_metrics, evaluate, shown
from headsweep.stats.resolution_fit import ResolutionFit, fit_resolution
from headsweep.stats.tracks import Array, Tracks, concatenate

SAGITTA = ("sagitta_bias", "sagitta_bias_plus", "sagitta_bias_minus")
"""Metrics that are also taken per bin of eta, with its sign."""

REFERENCE = "reference_"
"""Beginning of the axes on the tracks that every reference can use.

Only on them are configurations and references compared: a reference gives up on the harder tracks.
"""

WHOLE = ("all", f"{REFERENCE}tracks")
"""Sets of tracks that are not binned: all, and those that every reference can use."""


@dataclass(frozen=True)
class Value:
    """One figure.

    Attributes:
        label: The configuration or reference.
        metric: Name of the metric: of ``METRICS``, ``CURVE_METRICS``, a loss,
            ``far_from_reference``, or in a bin of |eta| ``usable``, the share of the tracks that a
            reference can use, or ``efficiency``, the share of the true tracks that were found and
            have an estimate.
        axis: ``all``, ``pt`` (GeV), ``abs_eta``, ``eta``, ``phi`` (rad) or ``stations``;
            ``reference_tracks``, ``reference_pt``, ``reference_abs_eta`` and ``reference_stations``
            on the tracks that every reference can use. A reference that cannot use all tracks has
            figures on these alone.
        low: Lower edge of the bin; infinite, or 0 for pT, for the underflow. NaN without a bin.
        high: Upper edge, infinite for the overflow.
        tracks: Tracks in the bin.
        estimate: Its value and interval.
    """

    label: str
    metric: str
    axis: str
    low: float
    high: float
    tracks: int
    estimate: Estimate

    @property
    def bin(self) -> str:
        """The bin in words, without its unit: ``< 5``, ``5–10``, ``≥ 200``."""
        if math.isinf(self.high):
            return f"≥ {self.low:g}"
        if math.isinf(self.low):
            return f"< {self.high:g}"
        axis = self.axis.removeprefix(REFERENCE)
        if axis in ("pt", "stations") and self.low == 0:
            return f"< {self.high:g}"
        if axis == "stations":
            return f"{self.low:g}"
        return f"{self.low:g}–{self.high:g}"


def row_values(row: HeadRow | ReferenceRow, pt_edges: Sequence[float]) -> Iterator[Value]:
    """Every figure of one configuration or reference; none without a finished member."""
    if not row.samples:
        return
    partial = isinstance(row, ReferenceRow) and row.usable < 1
    own = [_measure(sample, pt_edges) for sample in row.samples]
    pooled = own if row.folds is None else [_measure(s, pt_edges) for s in row.pooled()]
    tracks = np.mean([frame["n"] for frame in pooled], axis=0).round().astype(int)
    bins = own[0][["axis", "low", "high"]]
    for name in (name for name in METRICS if name in own[0]):
        found = np.array([frame[name] for frame in own])
        centers = np.mean([frame[name] for frame in pooled], axis=0)
        for b, (axis, low, high) in enumerate(bins.itertuples(index=False)):
            if partial and not axis.startswith(REFERENCE):
                continue
            if axis in WHOLE or name in _names(axis):
                estimate = _estimate(row, found[:, b], centers[b])
                yield Value(row.label, name, axis, low, high, int(tracks[b]), estimate)
    etas = [b for b, axis in enumerate(bins["axis"]) if axis == ABS_ETA.name]
    shares = {"efficiency": row.efficiency_by_eta}
    if isinstance(row, ReferenceRow):
        shares = {"usable": row.usable_by_eta, **shares}
    for name, by_eta in shares.items():
        for b, share in zip(etas, by_eta, strict=True):
            _, low, high = bins.iloc[b]
            estimate = Estimate(share, math.nan, 1)
            yield Value(row.label, name, ABS_ETA.name, low, high, int(tracks[b]), estimate)
    for name in () if partial else row.samples[0].scalars:
        scalars = np.array([sample.scalars[name] for sample in row.samples])
        estimate = _estimate(row, scalars, float(scalars.mean()))
        yield Value(row.label, name, "all", math.nan, math.nan, int(tracks[0]), estimate)


def _names(axis: str) -> Sequence[str]:
    """The metrics that are taken in bins of an axis."""
    of_axis = {ETA.name: SAGITTA, "stations": shown("stations")}
    return of_axis.get(axis.removeprefix(REFERENCE)) or binned_metrics()


def _measure(sample: Sample, pt_edges: Sequence[float]) -> pd.DataFrame:
    """Every metric of one sample: columns axis, low, high, n and the metrics."""
    tracks = sample.tracks
    sets = dict(zip(WHOLE, (tracks, tracks.take(sample.common)), strict=True))
    parts = [_whole(part, axis) for axis, part in sets.items()]
    for axis in (pt_axis(pt_edges), ABS_ETA, PHI, ETA):
        parts.append(binned(tracks, axis, _names(axis.name)).assign(axis=axis.name))
    for axis in (pt_axis(pt_edges), ABS_ETA):
        common = binned(sets[WHOLE[1]], axis, _names(axis.name))
        parts.append(common.assign(axis=REFERENCE + axis.name))
    if sample.stations is not None:
        number = sample.stations
        for name, part, own in (
            ("stations", tracks, number),
            (f"{REFERENCE}stations", sets[WHOLE[1]], number[sample.common]),
        ):
            parts.append(binned(part, _station_axis(own), _names(name)).assign(axis=name))
    return pd.concat(parts, ignore_index=True)


def _station_axis(number: NDArray[np.int64]) -> BinAxis:
    """The axis of given numbers of stations, [T], which tracks do not know themselves."""
    values = number.astype(np.float64)
    return BinAxis("stations", "", lambda _: values, STATIONS)


def _whole(tracks: Tracks, axis: str) -> pd.DataFrame:
    row = {"axis": axis, "low": math.nan, "high": math.nan, "n": len(tracks), **evaluate(tracks)}
    return pd.DataFrame([row])


def _estimate(row: Row, found: Array, center: float) -> Estimate:
    """Interval of a row's values, one for each sample.

    Without folds every sample is a seed on the same tracks. With folds a value is one fold of one
    split seed, its seeds averaged; a fold without the tracks for a value is left out.
    """
    if row.folds is None:
        return t_interval(found)
    _, block = np.unique([s.block for s in row.samples], axis=0, return_inverse=True)
    blocks = np.bincount(block, weights=found) / np.bincount(block)
    return nadeau_bengio(blocks[~np.isnan(blocks)], float(center), row.folds)


def learning_curves(row: HeadRow) -> pd.DataFrame:
    """Mean and extremes of the learning curves over the members, by step.

    Columns: step, train_loss and val_loss each as mean, low and high, label; empty without curves.
    """
    if not row.curves:
        return pd.DataFrame()
    steps = pd.concat(row.curves).groupby("step")
    columns = {
        f"{loss}_{name}": steps[loss].agg(how)
        for loss in ("train_loss", "val_loss")
        for name, how in (("mean", "mean"), ("low", "min"), ("high", "max"))
    }
    return pd.DataFrame(columns).reset_index().assign(label=row.label)


def fit_row(row: Row, pt_edges: Sequence[float]) -> ResolutionFit:
    """The resolution fit over all samples of a row, on the tracks that every reference can use.

    The bootstrap keeps an event's copies.
    """
    tracks = concatenate([sample.tracks.take(sample.common) for sample in row.samples])
    return fit_resolution(tracks, pt_edges[0], pt_edges[-1], np.random.default_rng(0))
