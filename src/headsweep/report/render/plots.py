"""Pictures of a comparison: units on every axis, colours that colour-blind eyes can tell apart."""

import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from headsweep.report.comparisons import Effect
from headsweep.report.content import Report
from headsweep.stats.bins import binned, pt_axis
from headsweep.stats.metrics import METRICS, Array, Tracks
from headsweep.stats.widths import abs68
from headsweep.store.trials import Trials

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Palette of Okabe and Ito, without yellow and without black, which the references have."""

MARKERS = "osD^vP"

STYLES = {"constant predictor": ":", "analytic estimate": "--", "classical reference": "-"}
"""Lines of the references."""

PICTURES = {
    "qoverpt_r68.png": "0.6827 quantile of the relative q/pT error against true pT",
    "scale_bias.png": "Median relative q/pT error against true pT",
    "charge_misid.png": "Charge misidentification against true pT",
    "learning_curves.png": "Learning curves: mean over the members, and their range",
}
"""File name and caption of each picture."""


SEARCH = {
    "search.png": "The search: every trial on validation, by its number or by its parameters",
}
"""The picture that only a search has."""


def captions(report: Report) -> dict[str, str]:
    """File name and caption of each picture of a report."""
    return PICTURES if report.search is None else SEARCH | PICTURES


def draw(report: Report) -> dict[str, Figure]:
    """Every picture, by file name."""
    found = [] if report.search is None else [search_figure(report.search)]
    figures = (
        *found,
        binned_figure(report, "qoverpt_r68", "r68 of q/pT, relative", scale="log"),
        binned_figure(
            report, "scale_bias", "median of q/pT error [%]; linear within ±10", 100, scale="symlog"
        ),
        binned_figure(report, "charge_misid", "wrong charge [%]", factor=100),
        learning_figure(report),
    )
    return dict(zip(captions(report), figures, strict=True))


def png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def binned_figure(
    report: Report, metric: str, ylabel: str, factor: float = 1.0, scale: str = "linear"
) -> Figure:
    """A metric against true pT: heads with intervals, references as lines.

    Args:
        report: What to show.
        metric: One that the report has in bins of pT.
        ylabel: Name and unit of the vertical axis.
        factor: Multiplies the values, 100 for percent.
        scale: Of the vertical axis: ``linear``, ``log`` or ``symlog``. Only with ``log`` is the
            constant predictor shown: its values would flatten all others.
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    edges = drawn_edges(report.pt_edges)
    centers = np.sqrt(edges[:-1] * edges[1:])
    heads = shown_heads(report)
    handles: list[Any] = []
    for i, label in enumerate(heads):
        values = [value.estimate for value in report.get(label, metric, "pt")]
        # Heads stand side by side in each bin.
        x = centers * math.exp(0.1 * (i - (len(heads) - 1) / 2))
        y = np.array([factor * estimate.mean for estimate in values])
        half = np.nan_to_num([factor * estimate.half for estimate in values])
        bars = axes.errorbar(x, y, half, fmt=MARKERS[i], ms=5, capsize=2, color=COLOURS[i])
        bars.set_label(label)
        handles.append(bars)
    for row in report.references:
        name = row.reference
        if scale == "log" or name != "constant predictor":
            y = np.array([factor * v.estimate.mean for v in report.get(row.label, metric, "pt")])
            stairs = axes.stairs(y, edges, baseline=None, color="black", linestyle=STYLES[name])
            stairs.set_label(row.label)
            handles.append(stairs)
    if scale == "log":
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.axhline(0.0, color="grey", linewidth=0.8)
    if scale == "symlog":
        # One hopeless bin must not flatten all others.
        axes.set_yscale("symlog", linthresh=10)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel(ylabel)
    _pt_axis(axes, report.pt_edges)
    title = _legend_title(report)
    figure.legend(handles=handles, loc="outside right upper", frameon=False, title=title)
    return figure


def search_figure(trials: Trials) -> Figure:
    """Trials by number with the best so far, or against a second objective with its front."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    several = len(trials.objectives) > 1
    complete = {n: o for n, o in trials.outcomes.items() if o.state == "complete"}
    x = [o.values[1] if several else n for n, o in complete.items()]
    y = [o.values[0] for o in complete.values()]
    half = [o.spread[0] if o.spread else 0.0 for o in complete.values()]
    label = "complete"
    if any(half):
        axes.errorbar(x, y, half, fmt="none", capsize=2, color=COLOURS[0])
        label += "; bars: standard deviation over the seeds"
    axes.plot(x, y, "o", ms=5, color=COLOURS[0], label=label)
    if several:
        front = sorted(
            (trials.outcomes[n].values[1], trials.outcomes[n].values[0]) for n in trials.best()
        )
        axes.step(*zip(*front, strict=True), where="post", color=COLOURS[1], label="Pareto front")
        axes.set_xscale("log")
        counts = {"params_total": "trained parameters"}
        label_log(axes.xaxis, *axes.get_xlim())
        axes.set_xlabel(counts.get(trials.objectives[1], trials.objectives[1]))
    else:
        best = np.minimum if trials.directions[0] == "minimize" else np.maximum
        axes.step(x, best.accumulate(y), where="post", color=COLOURS[1], label="best so far")
        pruned = {n: o.values[0] for n, o in trials.outcomes.items() if o.state == "pruned"}
        low, high = min(y), max(y)
        # A trial that was pruned early may lie anywhere: it is drawn at the edge.
        at = np.clip([*pruned.values()], low, high)
        axes.plot([*pruned], at, "x", color="0.5", label="pruned, at its last evaluation")
        failed = [n for n, o in trials.outcomes.items() if o.state == "failed"]
        if failed:
            axes.plot(failed, [high] * len(failed), "P", color=COLOURS[3], label="failed")
        axes.set_xlabel("number of the trial")
    axes.set_yscale("log")
    label_log(axes.yaxis, *axes.get_ylim())
    axes.set_ylabel(f"{trials.objectives[0]}, mean over the seeds")
    figure.legend(loc="outside upper center", frameon=False, ncols=2)
    return figure


def label_log(axis: Axis, low: float, high: float) -> None:
    """Ticks with their values on a logarithmic axis, four or more however short it is."""
    for parts in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000):
        # 1, 2, 5 of each decade; then the same with so many parts of the step of a decade.
        subs = np.array([1, 2, 5]) if parts == 1 else np.arange(parts, 10 * parts) / parts
        decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
        ticks = np.outer(decades, subs).ravel()
        ticks = ticks[(ticks >= low) & (ticks <= high)]
        if len(ticks) >= 4:
            break
    axis.set_ticks(ticks, [f"{tick:,.10g}" for tick in ticks])
    axis.set_minor_locator(NullLocator())


def learning_figure(report: Report) -> Figure:
    """Training against validation loss of each configuration, with the range of its members."""
    heads = shown_heads(report)
    columns = min(len(heads), 2)
    rows = math.ceil(len(heads) / columns)
    figure = Figure(figsize=(4.5 * columns + 1, 2.8 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for axes, label in zip(grid, heads, strict=False):
        curve = report.curves[report.curves["label"] == label]
        for loss, colour, style in (("train", COLOURS[0], "--"), ("val", COLOURS[1], "-")):
            low, mean, high = (curve[f"{loss}_loss_{part}"] for part in ("low", "mean", "high"))
            name = {"train": "training, dropout on", "val": "validation"}[loss]
            axes.plot(curve["step"], mean, style, color=colour, linewidth=1.4, label=name)
            axes.fill_between(curve["step"], low, high, color=colour, alpha=0.25, linewidth=0)
        axes.set_title(label, fontsize=10)
        axes.set_xlabel("step")
        axes.set_ylabel("loss (standardised outputs)")
        axes.label_outer()
    grid[0].set_yscale("log")  # of all: they share it
    label_log(grid[0].yaxis, *grid[0].get_ylim())
    for axes in grid[len(heads) :]:
        axes.remove()
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return figure


def effects_figure(report: Report) -> Figure:
    """Every comparison of the design: its change with both intervals, and the margin as a band."""
    metrics = list(dict.fromkeys(effect.metric for effect in report.effects))
    most = max(sum(effect.metric == name for effect in report.effects) for name in metrics)
    figure = Figure(figsize=(8, (1.2 + 0.5 * most) * len(metrics) + 0.4), layout="constrained")
    grid = figure.subplots(len(metrics), squeeze=False).flatten()
    for axes, name in zip(grid, metrics, strict=True):
        _effects_panel(axes, name, [e for e in reversed(report.effects) if e.metric == name])
    labels = {
        label: handle
        for axes in grid
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if labels:
        figure.legend(
            labels.values(), labels.keys(), loc="outside upper center", frameon=False, ncols=4
        )
    return figure


def _effects_panel(axes: Axes, metric: str, effects: Sequence[Effect]) -> None:
    """One line for each comparison in a metric, from below."""
    decided = [
        (at, effect.verdict)
        for at, effect in enumerate(effects)
        if effect.verdict is not None and not math.isnan(effect.verdict.low)
    ]
    unit = METRICS[metric].unit if metric in METRICS else ""
    if decided:
        first = decided[0][1]
        logs = first.scale == "log"
        unit = "%" if logs else unit

        def drawn(values: Sequence[float]) -> Array:
            return 100 * np.expm1(values) if logs else np.array(values)

        rows, verdicts = [at for at, _ in decided], [verdict for _, verdict in decided]
        band = drawn([-first.margin, first.margin])
        axes.axvspan(*band, color="0.9", zorder=0, label="does not matter")
        ends = (drawn([v.sim_low for v in verdicts]), drawn([v.sim_high for v in verdicts]))
        widened = f"widened for {max(v.comparisons for v in verdicts)}"
        axes.hlines(rows, *ends, color=COLOURS[0], linewidth=1.2, label=widened)
        ends = (drawn([v.low for v in verdicts]), drawn([v.high for v in verdicts]))
        axes.hlines(rows, *ends, color=COLOURS[5], linewidth=6, label="95% interval")
        deltas = drawn([verdict.delta for verdict in verdicts])
        axes.plot(deltas, rows, "o", color=COLOURS[1], label="change")
    for at in set(range(len(effects))) - {at for at, _ in decided}:
        axes.text(0, at, " no verdict", va="center", color="0.4")
    axes.axvline(0, color="0.4", linewidth=0.8, zorder=1)
    names = [f"{effect.arm}\nagainst {effect.control}" for effect in effects]
    axes.set_yticks(range(len(effects)), names, fontsize=8)
    axes.set_ylim(-0.6, len(effects) - 0.4)
    axes.set_xlabel(f"change of {metric}" + (f" [{unit}]" if unit else ""))


def read_out_figure(tracks: Mapping[str, Tracks], pt_edges: list[float]) -> Figure:
    """r68 of q/pT and wrong charges against true pT, of several estimates.

    Args:
        tracks: Scored tracks by name, at most as many as there are colours.
        pt_edges: Quoted bins of pT in GeV.
    """
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    edges = drawn_edges(pt_edges)
    columns = (
        ("qoverpt_r68", "r68 of q/pT, relative", 1),
        ("charge_misid", "wrong charge [%]", 100),
    )
    for axes, (name, label, factor) in zip(figure.subplots(1, 2), columns, strict=True):
        for i, (title, own) in enumerate(tracks.items()):
            frame = binned(own, pt_axis(pt_edges), [name])
            x = np.sqrt(edges[:-1] * edges[1:]) * math.exp(0.08 * (i - (len(tracks) - 1) / 2))
            axes.plot(x, factor * frame[name], MARKERS[i], ls=":", color=COLOURS[i], label=title)
        axes.axhline(
            {1: 1.0, 100: 50.0}[factor], color="black", lw=0.8, ls="--", label="nothing known"
        )
        axes.set_ylim(bottom=0)
        axes.set_ylabel(label)
        _pt_axis(axes, pt_edges)
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside upper center", frameon=False, ncols=3
    )
    return figure


def residual_figure(tracks: Tracks, pt_edges: list[float]) -> Figure:
    """Distribution of the relative q/pT error of one estimate in each quoted bin of pT."""
    axis = pt_axis(pt_edges)
    index, rho = axis.index(tracks), tracks.rho
    quoted = range(1, len(axis.edges) - 2)
    columns = 3
    rows = math.ceil(len(quoted) / columns)
    figure = Figure(figsize=(9, 2.6 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    bins = np.linspace(-3, 2, 51)
    for axes, b in zip(grid, quoted, strict=False):
        own = rho[index == b]
        axes.set_title(
            f"{axis.edges[b]:g}–{axis.edges[b + 1]:g} GeV, {len(own):,} tracks", fontsize=9
        )
        if len(own):
            share = np.full(len(own), 100 / len(own))
            axes.hist(np.clip(own, -3, 2), bins, weights=share, color=COLOURS[0])
            r68 = float(abs68(own))
            for at in (-r68, r68):
                axes.axvline(at, color=COLOURS[1], ls="--", lw=1.2)
            axes.text(
                0.03,
                0.95,
                f"r68 {r68:.3f}\nmedian {np.median(own):+.3f}",
                transform=axes.transAxes,
                va="top",
                fontsize=8,
            )
        axes.set_xlabel("rho; the last bins hold the rest")
        axes.set_ylabel("tracks [%]")
        axes.label_outer()
    for axes in grid[len(quoted) :]:
        axes.remove()
    for axes in grid[max(len(quoted) - columns, 0) : len(quoted)]:
        axes.xaxis.set_tick_params(labelbottom=True)
        axes.set_xlabel("rho; the last bins hold the rest")
    return figure


def shown_heads(report: Report) -> list[str]:
    """Configurations that fit into a picture: all, or the first and those with the lowest r68."""
    heads = [row.label for row in report.heads if row.finished]
    if len(heads) <= len(COLOURS):
        return heads
    # The first is what the others are compared with; of a search it is the best anyway.
    control, *others = heads
    others.sort(key=lambda label: report.get(label, "qoverpt_r68")[0].estimate.mean)
    return [control, *others[: len(COLOURS) - 1]]


def _legend_title(report: Report) -> str | None:
    total = len(report.heads)
    shown = len(shown_heads(report))
    return f"{shown} of {total}: the first and the lowest r68" if shown < total else None


def drawn_edges(pt_edges: list[float]) -> Array:
    """Edges of all bins; under- and overflow are drawn with a factor of two."""
    return np.array([pt_edges[0] / 2, *pt_edges, pt_edges[-1] * 2])


def _pt_axis(axes: Axes, pt_edges: list[float]) -> None:
    """Logarithmic pT axis with the bin edges as ticks; under- and overflow are grey."""
    edges = drawn_edges(pt_edges)
    axes.set_xscale("log")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xticks(pt_edges, [f"{edge:g}" for edge in pt_edges])
    axes.xaxis.set_minor_locator(NullLocator())
    for low, high in (edges[:2], edges[-2:]):
        axes.axvspan(low, high, color="0.92", zorder=0)
    axes.grid(axis="x", color="0.85", linewidth=0.6)
    axes.set_xlabel("true pT [GeV]; grey: under- and overflow")
