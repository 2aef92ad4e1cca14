"""Pictures of the parameters of a search: importances and contours."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator, NullLocator
from matplotlib.tri import Triangulation

from headsweep.report.notebook.importance import CLEAR, Importances, Range
from headsweep.report.render.matplotlib_renderer import ShownFigure
from headsweep.report.render.picture import COLOURS, log_ticks, tick_word
from headsweep.stats.tracks import Array
from headsweep.store.trials import Trials

MAP = "cividis"
"""Colours of rising brightness that colour-blind eyes see alike."""

LEVELS = 10


def importance_figure(found: Importances) -> ShownFigure:
    """Importance of each parameter with its 95% interval, beside how often chance does as much."""
    table = found.table.iloc[::-1]
    figure = ShownFigure(figsize=(8, 1.2 + 0.6 * len(table)), layout="constrained")
    axes = figure.subplots()
    # The interval of resampled shares need not hold the share itself.
    share, low, high, chance = table[["importance", "low", "high", "chance"]].to_numpy().T
    reach = np.maximum([share - low, high - share], 0)
    clear = chance <= CLEAR
    for told, colour, label in (
        (True, COLOURS[0], f"told from chance (at most {CLEAR:.0%})"),
        (False, "0.5", "not told from chance"),
    ):
        at = np.flatnonzero(clear == told)
        if len(at):
            bars = axes.errorbar(share[at], at, xerr=reach[:, at], fmt="o", capsize=3, color=colour)
            bars.set_label(label)
    names = [
        f"{name}\n{row.trials:g} trials, chance {row.chance:.2g}" for name, row in table.iterrows()
    ]
    axes.set_yticks(range(len(table)), names)
    axes.set_ylim(-0.6, len(table) - 0.4)
    axes.set_xlim(0, 1)
    axes.grid(axis="x", color="0.85", linewidth=0.6)
    axes.set_xlabel("importance, as a share of all; bars: 95% over resampled trials")
    figure.legend(loc="outside upper center", frameon=False, ncols=2)
    return figure


def contour_figure(trials: Trials, ranges: Mapping[str, Range]) -> ShownFigure:
    """The first objective over each pair of searched numbers, interpolated between the trials.

    Args:
        trials: The finished trials. Complete ones give the colours; pruned ones are crosses.
        ranges: Of the searched numbers, two or more.
    """
    pairs = list(combinations(ranges, 2))
    columns = min(len(pairs), 3)
    rows = -(-len(pairs) // columns)
    figure = ShownFigure(figsize=(4.2 * columns, 3.6 * rows + 0.8), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    values = [o.values[0] for o in trials.outcomes.values() if o.state == "complete"]
    low, high = min(values), max(values)
    norm = LogNorm(low, high if high > low else 1.01 * low)
    for axes, (x, y) in zip(grid, pairs, strict=False):
        _panel(axes, trials, {x: ranges[x], y: ranges[y]}, norm)
    for axes in grid[len(pairs) :]:
        axes.remove()
    bar = figure.colorbar(ScalarMappable(norm, MAP), ax=list(grid[: len(pairs)]))
    bar.set_label(f"{trials.objectives[0]}, mean over the seeds")
    ticks = log_ticks(norm.vmin or 1, norm.vmax or 1)
    bar.set_ticks(ticks, labels=[tick_word(tick) for tick in ticks])
    bar.ax.minorticks_off()
    figure.legend(
        *grid[0].get_legend_handles_labels(), loc="outside upper center", frameon=False, ncols=3
    )
    return figure


def _panel(axes: Axes, trials: Trials, pair: Mapping[str, Range], norm: LogNorm) -> None:
    """Trials over two parameters, with contours where three or more span an area."""
    chosen = {n: o for n, o in trials.outcomes.items() if pair.keys() <= o.params.keys()}
    complete = [o for o in chosen.values() if o.state == "complete"]
    points = np.array([[o.params[key] for key in pair] for o in complete], float).reshape(-1, 2)
    values = np.array([o.values[0] for o in complete])
    unit = [_unit(column, r) for column, r in zip(points.T, pair.values(), strict=True)]
    if len(values) > 2 and np.linalg.matrix_rank(np.cov(unit), tol=1e-9) == 2:
        # The triangles are those of the axes as they are drawn.
        drawn = Triangulation(points[:, 0], points[:, 1], Triangulation(*unit).triangles)
        levels = np.geomspace(norm.vmin or 1, norm.vmax or 1, LEVELS + 1)
        axes.tricontourf(drawn, values, levels=levels, norm=norm, cmap=MAP)
    pruned = [[o.params[key] for key in pair] for o in chosen.values() if o.state == "pruned"]
    if pruned:
        axes.plot(*np.array(pruned, float).T, "x", color="0.4", ms=5, label="pruned")
    x, y = points.T
    axes.scatter(x, y, s=30, c=values, norm=norm, cmap=MAP, edgecolors="black", label="complete")
    if len(values):
        best = int(np.argmin(values) if trials.directions[0] == "minimize" else np.argmax(values))
        axes.plot(*points[best], "*", ms=16, mfc="none", mec=COLOURS[1], mew=1.8, label="best")
    for name, (key, found) in zip("xy", pair.items(), strict=True):
        _scale(axes, name, key, found)


def _scale(axes: Axes, name: str, key: str, found: Range) -> None:
    """Label, scale and limits of the axis ``x`` or ``y``."""
    low, high = found.low, found.high
    axis = axes.xaxis if name == "x" else axes.yaxis
    if found.log:
        grow = (high / low) ** 0.04
        limits, ticks = (low / grow, high * grow), np.geomspace(low, high, 5)
        axes.set(**{f"{name}scale": "log"})
        axis.set_ticks(ticks, [f"{tick:.3g}" for tick in ticks])
        axis.set_minor_locator(NullLocator())
    else:
        limits = (low - 0.04 * (high - low), high + 0.04 * (high - low))
        axis.set_major_locator(MaxNLocator(5, integer=found.whole))
    axes.set(**{f"{name}lim": limits, f"{name}label": key})


def _unit(values: Array, found: Range) -> Array:
    """Values of a range on the scale 0 to 1 that they are drawn on."""
    low, high = found.low, found.high
    if found.log:
        return np.asarray(np.log(values / low) / np.log(high / low))
    return (values - low) / (high - low)
