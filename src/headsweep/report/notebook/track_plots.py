"""Pictures of single estimates of tracks: read-outs beside each other, and residuals."""

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from headsweep.report.render.binned_pictures import drawn_pt_edges
from headsweep.report.render.matplotlib_renderer import ShownFigure
from headsweep.report.render.picture import COLOURS
from headsweep.stats.bins import binned, pt_axis
from headsweep.stats.tracks import Tracks
from headsweep.stats.widths import abs68

SYMBOLS = "osD^vP"


def read_out_figure(tracks: Mapping[str, Tracks], pt_edges: list[float]) -> ShownFigure:
    """r68 of q/pT and wrong charges against true pT, of several estimates.

    Args:
        tracks: Scored tracks by name, at most as many as there are colours.
        pt_edges: Quoted bins of pT in GeV.
    """
    figure = ShownFigure(figsize=(9, 4.2), layout="constrained")
    edges = drawn_pt_edges(pt_edges)
    columns = (
        ("qoverpt_r68", "r68 of q/pT, relative", 1),
        ("charge_misid", "wrong charge [%]", 100),
    )
    for axes, (name, label, factor) in zip(figure.subplots(1, 2), columns, strict=True):
        for i, (title, own) in enumerate(tracks.items()):
            frame = binned(own, pt_axis(pt_edges), [name])
            x = np.sqrt(edges[:-1] * edges[1:]) * math.exp(0.08 * (i - (len(tracks) - 1) / 2))
            axes.plot(x, factor * frame[name], SYMBOLS[i], ls=":", color=COLOURS[i], label=title)
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


def residual_figure(tracks: Tracks, pt_edges: list[float]) -> ShownFigure:
    """Distribution of the relative q/pT error of one estimate in each quoted bin of pT."""
    axis = pt_axis(pt_edges)
    index, rho = axis.index(tracks), tracks.rho
    quoted = range(1, len(axis.edges) - 2)
    columns = 3
    rows = math.ceil(len(quoted) / columns)
    figure = ShownFigure(figsize=(9, 2.6 * rows), layout="constrained")
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


def _pt_axis(axes: Axes, pt_edges: list[float]) -> None:
    """Logarithmic pT axis with the bin edges as ticks; under- and overflow are grey."""
    edges = drawn_pt_edges(pt_edges)
    axes.set_xscale("log")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xticks(pt_edges, [f"{edge:g}" for edge in pt_edges])
    axes.xaxis.set_minor_locator(NullLocator())
    for low, high in (edges[:2], edges[-2:]):
        axes.axvspan(low, high, color="0.92", zorder=0)
    axes.grid(axis="x", color="0.85", linewidth=0.6)
    axes.set_xlabel("true pT [GeV]; grey: under- and overflow")
