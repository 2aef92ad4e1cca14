"""Pictures of whole runs: effects, learning curves, spread over the seeds and cost."""

import math
import textwrap
from collections.abc import Callable, Iterable, Mapping

from headsweep.report.content import HeadSummary, Report
from headsweep.report.render import tables
from headsweep.report.render.binned_pictures import hover_texts
from headsweep.report.render.picture import (
    GREY,
    Axis,
    Band,
    Dash,
    Line,
    Marker,
    Panel,
    Picture,
    Points,
    Series,
    Span,
    log_axis,
    named_axis,
    symlog,
    symlog_axis,
    symlog_inverse,
)
from headsweep.report.render.report_style import legend_title, markers
from headsweep.stats.curves import TARGET_LOSSES
from headsweep.stats.verdict import Verdict
from headsweep.store.labels import has_zero, loss_words

COSTS: dict[str, tuple[str, str, Callable[[HeadSummary], float]]] = {
    "parameters": ("trained parameters", "number", lambda row: row.parameters),
    "flops": ("operations of a prediction", "FLOP", lambda row: row.flops),
    "seconds": ("training time", "s", lambda row: row.seconds),
}
"""Costs of a configuration: label and unit of the axis, and value."""

LOSSES: dict[str, Dash] = {"train": "dot", "val": "solid"}
"""Lines of the losses of a training."""

COST_NAMES = {"parameters": "parameters", "flops": "operations", "seconds": "training time"}

COST_NOTES = {
    "parameters": "Weights, biases and norms.",
    "flops": "2 × weights of every linear layer, those of the projections once for each hit, for "
    "the mean number of hits of a track; without the backbone.",
    "seconds": "All seeds of a configuration together, without the preparation of the data.",
}


def compared_metrics(report: Report) -> list[str]:
    """Metrics of which there are comparisons."""
    return list(dict.fromkeys(effect.metric for effect in report.effects))


def effects(report: Report, metric: str) -> Picture:
    """Every comparison in one metric with both intervals and the margin.

    A comparison without a verdict, or without a size (one seed has no spread), has a row that
    says so.
    """
    found = [effect for effect in report.effects if effect.metric == metric]
    several = len({effect.control for effect in found}) > 1
    names = [f"{e.arm} – {e.control}" if several else e.arm for e in found]
    sized = {
        row: effect.verdict
        for row, effect in enumerate(found)
        if effect.verdict is not None and math.isfinite(effect.verdict.delta)
    }
    names = [n if row in sized else f"{n}: no verdict" for row, n in enumerate(names)]
    against = "" if several else f" against {textwrap.shorten(found[0].control, 24)}"
    words = tables.words_of(metric)
    title, y = f"Effects on {words}{against}", named_axis("configuration", names)
    if not sized:
        x = Axis(f"change of {words}", "no verdict", range=(-1, 1))
        return Picture(f"effect_{metric}", title, "No comparison has a verdict.", x, [Panel(y, [])])
    change, label, unit = _change(next(iter(sized.values())), metric)
    margin = next(iter(sized.values())).margin
    band = Span(change(-margin), change(margin), "too small to matter")
    ends = [change(end) for v in sized.values() for end in (v.sim_low, v.sim_high, v.delta)]
    threshold = float(f"{2 * band.high:.1g}")
    ends_of_x = _around([*ends, band.low, band.high], threshold)
    x = symlog_axis(label, unit, threshold, ends, ends_of_x)
    m = max(verdict.comparisons for verdict in sized.values())
    series = [
        one
        for row, verdict in sized.items()
        for one in _effect_series(row, found[row].arm, verdict, change, m)
    ]
    note = (
        f"Thick: 95% interval; thin: for m = {m} comparisons, from which the "
        f"verdict is read; grey: too small to matter. Logarithmic beyond ±{threshold:g}."
    )
    return Picture(f"effect_{metric}", title, note, x, [Panel(y, series)], [band])


def _change(verdict: Verdict, metric: str) -> tuple[Callable[[float], float], str, str]:
    """Function from a difference of a verdict to the shown number; label and unit of its axis."""
    if verdict.scale == "log":
        return lambda value: 100 * math.expm1(value), f"change of {tables.words_of(metric)}", "%"
    factor = tables.factor_of(metric)
    unit = metric_unit(metric) if factor == 1 else "percentage points"
    return lambda value: factor * value, f"difference of {tables.words_of(metric)}", unit


def _effect_series(
    row: int, arm: str, verdict: Verdict, change: Callable[[float], float], m: int
) -> list[Series]:
    """One comparison: both intervals and the change itself."""
    text = f"{arm}: {change(verdict.delta):+.3g}, {verdict.word}"
    intervals = (
        (f"for m = {m} comparisons", verdict.sim_low, verdict.sim_high, 1.5),
        ("95% interval", verdict.low, verdict.high, 5.0),
    )
    lines = [
        Line(label, [change(low), change(high)], [row, row], width=width, text=text)
        for label, low, high, width in intervals
        if not math.isnan(low)
    ]
    ring = Marker("white", size=9, border="black")
    return [*lines, Points("change", [change(verdict.delta)], [row], ring, texts=[text])]


def _around(values: Iterable[float], threshold: float) -> tuple[float, float]:
    """Ends of a symlog axis a little beyond its values."""
    places = [symlog(value, threshold) for value in values if math.isfinite(value)]
    low, high = min(places) - 0.2, max(places) + 0.2
    return symlog_inverse(low, threshold), symlog_inverse(high, threshold)


def learning_curves(report: Report) -> Picture:
    """Training and validation loss of each configuration; different losses on axes of their own."""
    shown, loss_of = markers(report), {row.label: row.loss for row in report.heads}
    kinds = list(dict.fromkeys(loss_of[label] for label in shown))
    panels = [
        _curves(
            report,
            {label: marker for label, marker in shown.items() if loss_of[label] == kind},
            "loss" if len(kinds) == 1 else "loss: {1} of {0}".format(*loss_words(kind)),
            has_zero(kind),
        )
        for kind in kinds
    ]
    x = Axis("training step", "batches")
    note = "Solid: validation, mean and range over the members; dotted: training, dropout on."
    if len(kinds) > 1:
        note += " Losses of different targets or kinds cannot be compared: each has its own axis."
    title = legend_title(report)
    return Picture("learning_curves", "Learning curves", note, x, panels, legend=title)


def _curves(report: Report, shown: Mapping[str, Marker], label: str, positive: bool) -> Panel:
    """Learning curves of some configurations on one axis, logarithmic if the loss is positive."""
    series: list[Series] = []
    losses: list[float] = []
    for name, marker in shown.items():
        curve = report.curves[report.curves["label"] == name]
        steps = curve["step"].tolist()
        low, high = (curve[f"val_loss_{part}"].tolist() for part in ("low", "high"))
        series.append(Band(name, steps, low, high, marker.colour))
        for loss, dash in LOSSES.items():
            mean = curve[f"{loss}_loss_mean"].tolist()
            losses += mean
            text = f"{name}, {loss}"
            line = Line(name, steps, mean, marker.colour, dash, 1.8, text=text, values=True)
            series.append(line)
    unit = "standardised outputs"
    return Panel(log_axis(label, unit, losses) if positive else Axis(label, unit), series)


def stability(report: Report) -> Picture:
    """r68 of every member."""
    r68 = {row.label: row.r68 for row in report.heads}
    shown = markers(report)
    series = [
        Points(
            label,
            r68[label],
            [row] * len(r68[label]),
            Marker(marker.colour, marker.symbol, filled=False, size=marker.size),
            texts=[f"{value:.4g}\n{label}" for value in r68[label]],
        )
        for row, (label, marker) in enumerate(shown.items())
    ]
    x = log_axis("r68 of q/pT", "relative", [value for label in shown for value in r68[label]])
    note = f"One marker for each seed, or fold, on {report.split}."
    panel = Panel(named_axis("configuration", list(shown)), series)
    return Picture("stability", "Spread over the seeds", note, x, [panel])


def cost(report: Report, what: str) -> Picture:
    """r68 against what it costs, one of ``COSTS``, with the Pareto front."""
    label, unit, value_of = COSTS[what]
    shown, series, points = markers(report), [], []
    for row in report.heads:
        for value in report.get(row.label, "qoverpt_r68"):
            x, mean, half = value_of(row), value.estimate.mean, value.estimate.half
            points.append((x, mean))
            known = row.label in shown
            series.append(
                Points(
                    row.label if known else "others",
                    [x],
                    [mean],
                    shown.get(row.label, Marker("#999999")),
                    [mean - half],
                    [mean + half],
                    hover_texts(row.label, [value]),
                )
            )
    front = pareto(points)
    at = [x for x, _ in front], [y for _, y in front]
    line = Line("Pareto front", *at, GREY, width=1.5, steps=True, text="Pareto front")
    x_axis = log_axis(label, unit, [x for x, _ in points])
    y = log_axis("r68 of q/pT", "relative", [y for _, y in points])
    note = f"{COST_NOTES[what]} Line: the Pareto front."
    title = f"r68 against {COST_NAMES[what]}"
    return Picture(f"cost_{what}", title, note, x_axis, [Panel(y, [line, *series])])


def pareto(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points that no other one beats in both numbers, ascending in the first."""
    front: list[tuple[float, float]] = []
    for point in sorted(points):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front


def metric_unit(metric: str) -> str:
    """Unit of a metric for a title of an axis."""
    own = metric not in TARGET_LOSSES and metric in tables.KNOWN
    unit = tables.KNOWN[metric].unit if own else "no unit"
    return "relative" if unit in ("", "%") else unit
