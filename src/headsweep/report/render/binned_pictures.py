"""Pictures of metrics in bins of pT or of an angle: configurations as points, references as stairs.

Configurations stand side by side in each bin. Under- and overflow are grey.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from headsweep.report.content import Report
from headsweep.report.render import tables
from headsweep.report.render.picture import (
    Axis,
    Panel,
    Picture,
    Points,
    Series,
    Span,
    Stairs,
    log_axis,
    symlog_axis,
)
from headsweep.report.render.report_style import dashes, legend_title, markers
from headsweep.report.values import REFERENCE, Value
from headsweep.stats.metrics import METRICS
from headsweep.stats.tracks import Array

PT = ("pt", f"{REFERENCE}pt")
"""Axes of bins of pT, which are drawn on a logarithmic scale."""

STATIONS = ("stations", f"{REFERENCE}stations")
"""Axes of numbers of stations."""

CHARGES = {"sagitta_bias_plus": "q = +1", "sagitta_bias_minus": "q = -1"}
"""The two sagitta biases, and their charges."""


def resolution(report: Report) -> Picture:
    """r68 against pT of configurations and references on the same tracks."""
    note = f"All on the same tracks: {report.common}."
    return _r68(report, f"{REFERENCE}pt", "resolution", note)


def resolution_of_all(report: Report) -> Picture:
    """r68 against pT on all tracks, without references that cannot use them all."""
    return _r68(report, "pt", "qoverpt_r68", "All tracks.")


def _r68(report: Report, axis: str, name: str, note: str) -> Picture:
    y = log_axis("r68 of q/pT", "relative", _means(report, "qoverpt_r68", axis))
    series = _series(report, "qoverpt_r68", axis, constant=True)
    return _binned(report, axis, name, "q/pT resolution against pT", note, [Panel(y, series)])


def _both_sets(
    report: Report,
    metric: str,
    axis: str,
    panel: Callable[[str, list[Series]], Panel],
    factor: float = 100,
) -> list[Panel]:
    """A metric on all tracks, and below it on those that every reference can use.

    Args:
        report: What to show.
        metric: One that the report has in bins.
        axis: The bins.
        panel: From words on the tracks and the series to a panel.
        factor: Multiplies the values.
    """
    panels = [panel("all tracks" if report.partial else "", _series(report, metric, axis, factor))]
    if report.partial:
        panels.append(panel("same tracks", _series(report, metric, REFERENCE + axis, factor)))
    return panels


def _same_tracks(report: Report) -> str:
    """A sentence on the lower of two panels; empty where there is one."""
    return f" Same tracks: {report.common}." if report.partial else ""


def scale_bias(report: Report) -> Picture:
    """Median relative error of q/pT against pT."""
    means = [
        mean
        for axis in ("pt", f"{REFERENCE}pt")
        for mean in _means(report, "scale_bias", axis, 100)
    ]

    def panel(tracks: str, series: list[Series]) -> Panel:
        axis = symlog_axis("median q/pT error", "%", 10.0, means)
        return Panel(replace(axis, note=tracks), series)

    note = "Best at 0; logarithmic beyond ±10%. Without the constant predictor."
    note += _same_tracks(report)
    panels = _both_sets(report, "scale_bias", "pt", panel)
    return _binned(report, "pt", "scale_bias", "Scale bias against pT", note, panels)


def charge_misid(report: Report) -> Picture:
    """Charge misidentification against pT."""

    def panel(tracks: str, series: list[Series]) -> Panel:
        return Panel(Axis("wrong charge", "%", tracks, from_zero=True), series)

    note = "The constant predictor, which has no charge, is left out."
    note += _same_tracks(report)
    panels = _both_sets(report, "charge_misid", "pt", panel)
    title = "Charge misidentification against pT"
    return _binned(report, "pt", "charge_misid", title, note, panels)


def in_bins(report: Report, axis: str, metric: str) -> Picture:
    """A metric of a table in bins that has no picture of its own."""
    about, factor = METRICS[metric], tables.factor_of(metric)
    unit, words = about.unit or "no unit", tables.words_of(metric)
    means = [m for at in (axis, REFERENCE + axis) for m in _means(report, metric, at, factor)]
    positive = about.scale == "log" and any(mean > 0 for mean in means)
    y = log_axis(words, unit, means) if positive else Axis(words, unit)

    def panel(tracks: str, series: list[Series]) -> Panel:
        return Panel(replace(y, note=tracks), series)

    note = f"{inspect.getdoc(about.function) or ''} Without the constant predictor."
    panels = _both_sets(report, metric, axis, panel, factor)
    title = f"{words} against {tables.AXES[axis]}"
    return _binned(report, axis, f"{metric}_{axis}", title, note + _same_tracks(report), panels)


OWN_PICTURES = ("qoverpt_r68", "scale_bias", "charge_misid")
"""Metrics with a picture of their own."""


def other_pictures(report: Report) -> list[Picture]:
    """A picture of every other metric or axis that has a table in bins."""
    others = [
        (axis, name)
        for axis, name in tables.binned_tables(report)
        if name not in OWN_PICTURES or axis == "stations"
    ]
    return [in_bins(report, axis, name) for axis, name in others]


def sagitta_bias(report: Report, axis: str) -> Picture:
    """Sagitta bias in bins of ``eta`` or ``phi``, for each charge."""
    means = [mean for name in CHARGES for mean in _means(report, name, axis)]
    y = symlog_axis("sagitta bias", "1/TeV", 1.0, means)
    panels = [
        Panel(replace(y, note=charge), _head_points(report, name, axis))
        for name, charge in CHARGES.items()
    ]
    note = "The median error of q/pT, for each charge. Best at 0; logarithmic beyond ±1."
    title = f"Sagitta bias by charge against {axis}"
    return _binned(report, axis, f"sagitta_{axis}", title, note, panels)


def tails(report: Report) -> Picture:
    """Outliers, and how many of the true tracks have an estimate, against |eta|."""

    def panel(tracks: str, series: list[Series]) -> Panel:
        return Panel(Axis("outliers", "%", tracks, from_zero=True), series)

    efficiency = _series(report, "efficiency", "abs_eta", 100)
    panels = [
        Panel(Axis("efficiency", "%", range=(0, 105)), efficiency, share=0.6),
        *_both_sets(report, "outlier_fraction", "abs_eta", panel),
    ]
    inputs = [row.inputs.partition(";")[0] for row in report.heads if row.inputs]
    note = (
        "Outliers: |relative q/pT error| > 0.5. Efficiency: share of the true tracks that were "
        f"found and have an estimate. Overall, {'; '.join(dict.fromkeys(inputs))}."
        f"{_same_tracks(report)}"
    )
    title = "Outliers and efficiency against |eta|"
    return _binned(report, "abs_eta", "tails", title, note, panels)


def _binned(
    report: Report, axis: str, name: str, title: str, note: str, panels: list[Panel]
) -> Picture:
    """Panels over the bins of an axis."""
    edges = _drawn_edges(report, axis)
    none: list[Array] = []
    grey = {"phi": none, "abs_eta": [edges[-2:]], "stations": none}
    ends = grey.get(axis, [edges[:2], edges[-2:]])
    spans = [Span(float(low), float(high)) for low, high in ends]
    x = _bin_axis(report, axis, edges)
    return Picture(name, title, note, x, panels, spans, legend=legend_title(report))


def drawn_pt_edges(pt_edges: list[float]) -> Array:
    """Edges of all bins of pT in GeV; under- and overflow are drawn with a factor of two."""
    return np.array([pt_edges[0] / 2, *pt_edges, pt_edges[-1] * 2])


def pt_bin_axis(pt_edges: list[float]) -> Axis:
    """The axis of bins of pT, their edges as ticks."""
    edges = drawn_pt_edges(pt_edges)
    ends = (float(edges[0]), float(edges[-1]))
    note = "grey: under- and overflow"
    return Axis("true pT", "GeV", note, scale="log", range=ends, ticks=tuple(pt_edges))


def _drawn_edges(report: Report, axis: str) -> Array:
    """Edges of all bins as they are drawn: none is infinite."""
    if axis in PT:
        return drawn_pt_edges(report.pt_edges)
    if axis in STATIONS:  # a step for each number, those beyond the last one together
        return np.arange(len(_numbers_of_stations(report)) + 1, dtype=np.float64)
    values = next(
        found for row in report.rows if (found := report.get(row.label, "sagitta_bias", axis))
    )
    edges = np.array([*(value.low for value in values), values[-1].high])
    for end, inner, width in ((0, 1, -0.3), (-1, -2, 0.3)):
        edges[end] = edges[end] if math.isfinite(edges[end]) else edges[inner] + width
    return edges


def _numbers_of_stations(report: Report) -> tuple[str, ...]:
    """The bins of stations in words."""
    found = (report.get(row.label, "qoverpt_r68", STATIONS[0]) for row in report.heads)
    return tuple(value.bin for value in next(filter(None, found)))


def _bin_axis(report: Report, axis: str, edges: Array) -> Axis:
    """The horizontal axis, the edges of the quoted bins as ticks."""
    if axis in PT:
        return pt_bin_axis(report.pt_edges)
    if axis in STATIONS:
        middles = tuple((edges[:-1] + 0.5).tolist())
        limits, names = (0.0, float(edges[-1])), _numbers_of_stations(report)
        return Axis(
            "stations with assigned hits", "number", range=limits, ticks=middles, names=names
        )
    ends = (float(edges[0]), float(edges[-1]))
    if axis == "phi":
        return Axis("true phi", "rad", range=ends, ticks=(-3, -2, -1, 0, 1, 2, 3))
    if axis == "abs_eta":
        return Axis(
            "true |eta|", note="grey: overflow", range=ends, ticks=tuple(edges[:-1].tolist())
        )
    return Axis("true eta", note="grey: beyond", range=ends, ticks=tuple(edges[1:-1].tolist()))


def _series(
    report: Report, metric: str, axis: str, factor: float = 1.0, constant: bool = False
) -> list[Series]:
    """A metric in bins.

    Args:
        report: What to show.
        metric: One that the report has in bins.
        axis: The bins.
        factor: Multiplies the values, 100 for percent.
        constant: Whether the constant predictor is shown; but on a logarithmic scale its values
            would flatten all others.
    """
    kinds = {row.label: row.reference for row in report.references}
    stairs = [
        _stairs(report, label, metric, axis, factor)
        for label in dashes(report)
        if (constant or kinds[label] != "constant predictor") and report.get(label, metric, axis)
    ]
    return [*_head_points(report, metric, axis, factor), *stairs]


def _head_points(report: Report, metric: str, axis: str, factor: float = 1.0) -> list[Points]:
    """Markers with intervals, side by side in each bin."""
    shown = markers(report)
    edges = _drawn_edges(report, axis)
    edges = np.log(edges) if axis in PT else edges
    found = []
    for i, (label, marker) in enumerate(shown.items()):
        share = 0.5 + min(0.14, 0.8 / len(shown)) * (i - (len(shown) - 1) / 2)
        x = edges[:-1] + share * np.diff(edges)
        x = np.exp(x) if axis in PT else x
        estimates = [value.estimate for value in report.get(label, metric, axis)]
        mean = factor * np.array([estimate.mean for estimate in estimates])
        half = factor * np.array([estimate.half for estimate in estimates])
        texts = hover_texts(label, report.get(label, metric, axis), factor)
        found.append(Points(label, x, mean, marker, mean - half, mean + half, texts))
    return found


def _stairs(report: Report, label: str, metric: str, axis: str, factor: float) -> Stairs:
    """A reference in bins."""
    values = report.get(label, metric, axis)
    mean = [factor * value.estimate.mean for value in values]
    texts = hover_texts(label, values, factor)
    return Stairs(label, _drawn_edges(report, axis), mean, dashes(report)[label], texts)


def hover_texts(label: str, values: list[Value], factor: float = 1.0) -> list[str]:
    """Texts under the mouse for the figures of a configuration or reference."""
    return [f"{label}\n{v.estimate.text(factor)}\n{v.tracks:,} tracks" for v in values]


def _means(report: Report, metric: str, axis: str, factor: float = 1.0) -> list[float]:
    """All values of a metric in bins."""
    return [
        factor * value.estimate.mean
        for row in report.rows
        for value in report.get(row.label, metric, axis)
    ]
