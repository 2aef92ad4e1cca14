"""Vocabulary that describes a picture; two renderers draw the description.

A picture has one horizontal axis and one panel or more, below each other or in a grid. A panel has
a vertical axis and series: points, stairs, lines, bands, cells. Values stand as they are; a
renderer puts them on the scale of their axis.
"""

import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from headsweep.stats.tracks import Array

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Palette of Okabe and Ito, without yellow and without black, which the references have."""

GREY = "#777777"

Values = Sequence[float] | Array
"""Values of a series, [N]."""

Symbol = Literal["circle", "square", "diamond", "triangle-up", "triangle-down", "plus", "x"]
Dash = Literal["solid", "dash", "dot"]

SYMBOLS: tuple[Symbol, ...] = (
    "circle",
    "square",
    "diamond",
    "triangle-up",
    "triangle-down",
    "plus",
)
"""Markers of the configurations, in their order."""

LEAST_TICKS = 3
"""Fewest ticks on a logarithmic axis, however short it is."""


@dataclass(frozen=True)
class Axis:
    """One axis of a picture.

    Attributes:
        label: What it shows.
        unit: Its unit; empty for none.
        note: Further words behind the unit.
        scale: ``linear``; ``log``; or ``symlog``, linear up to ``threshold`` on both sides of 0 and
            logarithmic beyond.
        threshold: Where ``symlog`` changes.
        range: Its two ends; None: as the values need it.
        ticks: Values with a tick; None: as the renderer likes it.
        names: Words at the ticks in place of their values.
        from_zero: Whether it starts at 0 or above.
    """

    label: str
    unit: str = ""
    note: str = ""
    scale: Literal["linear", "log", "symlog"] = "linear"
    threshold: float = 1.0
    range: tuple[float, float] | None = None
    ticks: tuple[float, ...] | None = None
    names: tuple[str, ...] = ()
    from_zero: bool = False

    @property
    def title(self) -> str:
        """Label, unit and note in one line."""
        unit = f" [{self.unit}]" if self.unit else ""
        return f"{self.label}{unit}" + (f"; {self.note}" if self.note else "")

    @property
    def words(self) -> tuple[str, ...]:
        """A word for each tick."""
        return self.names or tuple(tick_word(tick) for tick in self.ticks or ())


@dataclass(frozen=True)
class Marker:
    """Look of points.

    Attributes:
        colour: Of the symbol, or of its border where it is open.
        symbol: Its form.
        filled: Whether it is not open.
        size: In pixels of the page.
        border: Colour of a border around a filled symbol; empty for none.
    """

    colour: str
    symbol: Symbol = "circle"
    filled: bool = True
    size: float = 7
    border: str = ""


@dataclass(frozen=True)
class Points:
    """Markers, with error bars where there are ends of intervals.

    Attributes:
        label: Configuration or kind of the points; one label stands once in a legend.
        x: Where they are.
        y: Where they are; NaN is left out.
        marker: Their look.
        low: Lower ends of the error bars; empty for none, NaN for none at that point.
        high: Upper ends.
        texts: What each says under the mouse.
    """

    label: str
    x: Values
    y: Values
    marker: Marker
    low: Values = ()
    high: Values = ()
    texts: Sequence[str] = ()


@dataclass(frozen=True)
class Line:
    """A line; with ``steps`` it stays level up to the next point.

    Attributes:
        label: Configuration, reference or kind of the line.
        x: Its points.
        y: Its points; NaN interrupts it.
        colour: Its colour.
        dash: How it is drawn.
        width: In pixels of the page.
        steps: Whether it is level between points.
        text: What it says under the mouse.
        values: Whether it says its values, too.
    """

    label: str
    x: Values
    y: Values
    colour: str = "black"
    dash: Dash = "solid"
    width: float = 1.6
    steps: bool = False
    text: str = ""
    values: bool = False


@dataclass(frozen=True)
class Stairs:
    """A line that is level in each bin; a bin with NaN is empty and ends no other.

    Attributes:
        label: The reference.
        edges: Edges of the B bins, [B + 1].
        y: Values, [B].
        dash: How it is drawn.
        texts: What each bin says under the mouse.
    """

    label: str
    edges: Values
    y: Values
    dash: Dash = "solid"
    texts: Sequence[str] = ()


@dataclass(frozen=True)
class Band:
    """The area between two curves."""

    label: str
    x: Values
    low: Values
    high: Values
    colour: str


@dataclass(frozen=True)
class Cells:
    """Values of two dimensions as coloured cells; a cell with NaN is empty.

    Attributes:
        label: The configuration.
        x: Edges of the P columns, [P + 1].
        y: Edges of the E rows, [E + 1].
        values: [E, P], positive.
        range: Values of the lightest and of the darkest colour, on a logarithmic scale.
        texts: What each cell says under the mouse, [E][P].
    """

    label: str
    x: Values
    y: Values
    values: Array
    range: tuple[float, float]
    texts: Sequence[Sequence[str]] = ()

    @property
    def words(self) -> list[list[str]]:
        """The value that is printed in each cell, [E][P]; empty without one."""
        return [
            ["" if math.isnan(value) else f"{value:.2g}" for value in row] for row in self.values
        ]

    @property
    def shades(self) -> Array:
        """Each value between 0, the lightest, and 1, the darkest, [E, P]; NaN of an empty cell."""
        low, high = np.log(self.range)
        shades: Array = np.clip((np.log(self.values) - low) / max(high - low, 1e-9), 0, 1)
        return shades


SHADES = ("#ffffff", "#E69F00")
"""The lightest and the darkest colour of cells; black words can be read on both."""


Series = Points | Line | Stairs | Band | Cells


@dataclass(frozen=True)
class Span:
    """A grey region of the horizontal axis, as high as the picture."""

    low: float
    high: float
    label: str = ""


@dataclass(frozen=True)
class Panel:
    """A vertical axis with its series.

    Attributes:
        y: The axis.
        series: From the back to the front.
        share: Height relative to that of the other panels; all of a grid are equally high.
        title: What stands above it, in a grid.
    """

    y: Axis
    series: Sequence[Series]
    share: float = 1.0
    title: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture with its words.

    Attributes:
        name: Its identifier in the page, and the name of its file.
        title: What it shows.
        note: How to read it; may be empty.
        x: The horizontal axis, which all panels share.
        panels: From above; of a grid from left to right.
        spans: Grey regions.
        legend: Title of a legend; may be empty.
        columns: Panels beside each other; more than 1 make a grid.
    """

    name: str
    title: str
    note: str
    x: Axis
    panels: Sequence[Panel]
    spans: Sequence[Span] = ()
    legend: str = ""
    columns: int = 1

    @property
    def caption(self) -> str:
        """Title and note."""
        return f"{self.title}. {self.note}".rstrip()


def log_axis(label: str, unit: str, values: Iterable[float]) -> Axis:
    """A logarithmic axis with three ticks or more within the values, however close they are."""
    known = [value for value in values if math.isfinite(value) and value > 0] or [1.0]
    low, high = min(known), max(known)
    beyond = (high / low) ** 0.05 * 1.01  # an axis reaches a little further than its values
    return Axis(label, unit, scale="log", ticks=log_ticks(low / beyond, high * beyond))


def log_ticks(low: float, high: float) -> tuple[float, ...]:
    """Ticks from ``low`` to ``high``, both positive.

    Powers of 10 where there are many; else 1, 2, 5 of each decade; else finer and finer.
    """
    decades = 10.0 ** np.arange(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    many = math.log10(high / low) > 3
    fine = [np.arange(n, 10 * n) / n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)]
    digits_of = [*([np.array([1.0])] if many else []), np.array([1.0, 2, 5]), *fine]
    ticks = decades
    for digits in digits_of:
        ticks = np.outer(decades, digits).ravel()
        ticks = ticks[(ticks >= low) & (ticks <= high)]
        if len(ticks) >= LEAST_TICKS:
            break
    return tuple(ticks.tolist())


def symlog_axis(
    label: str,
    unit: str,
    threshold: float,
    values: Iterable[float],
    range: tuple[float, float] | None = None,
) -> Axis:
    """An axis on which one bad bin flattens no other: linear up to a threshold, then logarithmic.

    Args:
        label: What it shows.
        unit: Its unit.
        threshold: Where the scale changes.
        values: What is drawn, for the ticks.
        range: Its two ends.
    """
    known = [abs(value) for value in values if math.isfinite(value)]
    decades = math.ceil(math.log10(max([threshold, *known]) / threshold))
    near = [threshold / 2, *(threshold * 10**n for n in np.arange(decades + 1))]
    ticks = tuple(float(tick) for tick in [*(-tick for tick in near[::-1]), 0, *near])
    return Axis(label, unit, scale="symlog", threshold=threshold, range=range, ticks=ticks)


def symlog(value: float, threshold: float) -> float:
    """Place of a value on a symlog axis: 1 is the threshold, each decade adds 1."""
    share = value / threshold
    return share if abs(share) <= 1 else math.copysign(1 + math.log10(abs(share)), share)


def symlog_inverse(place: float, threshold: float) -> float:
    """The value that ``symlog`` draws at a place."""
    share = place if abs(place) <= 1 else math.copysign(10 ** (abs(place) - 1), place)
    return share * threshold


def named_axis(label: str, names: Sequence[str]) -> Axis:
    """A name at 0, 1, .. from the top, folded into lines."""
    folded = tuple(
        "\n".join(textwrap.wrap(name, 22, max_lines=3, placeholder=" …")) for name in names
    )
    ticks = tuple(float(at) for at, _ in enumerate(names))
    return Axis(label, range=(len(names) - 0.5, -0.5), ticks=ticks, names=folded)


def tick_word(value: float) -> str:
    """A value in short: ``0.05``, ``200``, ``20k``, ``1M``."""
    for least, unit, letter in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            return f"{value / unit:.10g}{letter}"
    return f"{value:.10g}"
