"""Pictures of whole distributions: errors of q/pT, pulls, and r68 in two dimensions."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from headsweep.report.content import Report
from headsweep.report.distributions import FEWEST_TRACKS, PULLS, RHO, Distribution
from headsweep.report.render.picture import (
    Axis,
    Cells,
    Line,
    Panel,
    Picture,
    Series,
    log_axis,
    tick_word,
)
from headsweep.report.render.report_style import legend_title, markers
from headsweep.stats.bins import ABS_ETA
from headsweep.stats.histograms import PULL_EDGES, RHO_EDGES
from headsweep.stats.tracks import Array


def residuals(report: Report) -> Picture:
    """Distribution of rho in each bin of pT, on a logarithmic scale."""
    shown = markers(report)
    found = [d for d in report.distributions if d.quantity == RHO and d.label in shown]
    found.sort(key=lambda d: d.low)
    panels = []
    for _, group in groupby(found, key=lambda d: d.low):
        own = [*group]
        series: list[Series] = [_steps(d, RHO_EDGES, shown[d.label].colour) for d in own]
        panels.append(Panel(_share_axis(found, 0.1), series, title=_bin(own[0])))
    note = (
        "Share of the tracks by their relative error of q/pT, mean over the members, all tracks. 0 "
        "is right, -1 a straight track, -2 a wrong charge; the outermost bins hold all that lies "
        "beyond. The tables have the size of the tails as r95 / r68."
    )
    ends = (float(RHO_EDGES[0]), float(RHO_EDGES[-1]))
    x = Axis("relative q/pT error", "no unit", range=ends, ticks=(-3, -2, -1, 0, 1, 2, 3))
    title = "Distribution of the q/pT error in bins of true pT"
    return Picture("residuals", title, note, x, panels, legend=legend_title(report), columns=4)


def pulls(report: Report) -> Picture | None:
    """Distributions of the pulls beside a normal one; None where no head gives an uncertainty."""
    shown = markers(report)
    found = [d for d in report.distributions if d.quantity in PULLS and d.label in shown]
    if not found:
        return None
    middle = (PULL_EDGES[1:] + PULL_EDGES[:-1]) / 2
    width = float(PULL_EDGES[1] - PULL_EDGES[0])
    normal = width * np.exp(-(middle**2) / 2) / math.sqrt(2 * math.pi)
    panels = []
    for quantity in PULLS:
        own = [d for d in found if d.quantity == quantity]
        lines: list[Series] = [_steps(d, PULL_EDGES, shown[d.label].colour) for d in own]
        right = Line("normal distribution", middle, normal, dash="dash", text="normal")
        panels.append(Panel(_share_axis(found, width), [*lines, right], title=quantity))
    note = (
        "Error over the uncertainty that the head gives, mean over the members, all tracks. Dashed "
        "is a normal distribution, which is right. The outermost bins hold all that lies beyond."
    )
    ends = (float(PULL_EDGES[0]), float(PULL_EDGES[-1]))
    x = Axis("error / uncertainty", "no unit", range=ends, ticks=(-4, -2, 0, 2, 4))
    return Picture("pulls", "Pulls", note, x, panels, legend=legend_title(report), columns=3)


def resolution_maps(report: Report) -> Picture:
    """r68 of each configuration in bins of pT and |eta|."""
    shown = markers(report)
    found = [own for own in report.maps if own.label in shown]
    values = np.array([own.r68 for own in found])
    known = values[values > 0]
    ends = (float(known.min()), float(known.max())) if len(known) else (1.0, 1.0)
    columns, rows = len(report.pt_edges) + 1, len(ABS_ETA.edges) - 1
    panels = []
    for own, r68 in zip(found, values, strict=True):
        texts = [
            [f"{own.label}\n{value:.3g}, {n:,} tracks" for value, n in zip(*cells, strict=True)]
            for cells in zip(r68, own.tracks, strict=True)
        ]
        x, y = np.arange(columns + 1.0), np.arange(rows + 1.0)
        axis = _edge_axis("true |eta|", "", ABS_ETA.edges[:-1], rows, 0)
        panels.append(Panel(axis, [Cells(own.label, x, y, r68, ends, texts)], title=own.label))
    note = (
        "r68 of q/pT, mean over the members, all tracks; darker is worse, one logarithmic scale. "
        "The numbers at the axes are the edges of the bins. Cells with fewer than "
        f"{FEWEST_TRACKS} tracks are empty; read nothing from a single cell."
    )
    title = "q/pT resolution against true pT and |eta|"
    of_pt = _edge_axis("true pT", "GeV", report.pt_edges, columns, 1)
    return Picture("resolution_map", title, note, of_pt, panels, columns=2)


def _edge_axis(label: str, unit: str, edges: Sequence[float], bins: int, first: int) -> Axis:
    """An axis of equally wide bins with their edges at the ticks, from the given one on."""
    ticks = tuple(float(first + at) for at, _ in enumerate(edges))
    names = tuple(tick_word(edge) for edge in edges)
    return Axis(label, unit, range=(0.0, float(bins)), ticks=ticks, names=names)


def _steps(found: Distribution, edges: Array, colour: str) -> Line:
    """A histogram as a line that is level in each bin; empty bins interrupt it."""
    y = np.array([share or math.nan for share in found.shares])
    x = np.repeat(edges, 2)[1:-1]
    return Line(found.label, x, np.repeat(y, 2), colour, width=1.4, text=found.label)


def _share_axis(found: Sequence[Distribution], width: float) -> Axis:
    """The logarithmic axis that all panels share."""
    values = [share for own in found for share in own.shares if share > 0]
    axis = log_axis("share", f"per {width:g}", values)
    return replace(axis, range=(0.7 * min(values, default=0.1), 1.4 * max(values, default=1.0)))


def _bin(found: Distribution) -> str:
    """The bin of pT in words."""
    if math.isinf(found.high):
        return f"pT at least {found.low:g} GeV"
    return f"pT {found.low:g}–{found.high:g} GeV" if found.low else f"pT below {found.high:g} GeV"
