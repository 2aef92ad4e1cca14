"""The description of a metric: its function, and all that is said of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from headsweep.stats.margins import Scale
from headsweep.stats.tracks import Array, Tracks

Best = Literal["lower", "higher", "zero", "one", "0.6827"]
"""Best value of a metric: as low or as high as can be, or a number."""

Place = Literal["main", "tails", "collider", "uncertainty", "pt", "abs_eta", "stations"]
"""A table of the report: of whole samples, or one of its own in bins of an axis."""

ARROWS = {"lower": "↓", "higher": "↑", "zero": "→0", "one": "→1", "0.6827": "→68.27"}
"""Best values as the heads of columns show them."""


class Facts(TypedDict, total=False):
    """What may be said of a metric beside its best value, see ``Metric``."""

    words: str
    unit: str
    scale: Scale
    margin: float
    tables: tuple[Place, ...]
    binned: bool


@dataclass(frozen=True)
class Metric:
    """A metric with all that is said of it.

    Attributes:
        name: Its key in tables and files.
        function: From ``Tracks`` to a number; in ``stats/curves.py`` from a training's curves.
        better: ``lower``, ``higher``, or the value that is best: ``zero``, ``one``, ``0.6827``.
        words: What it is called in a sentence; empty where its key has to do.
        unit: Unit of the value, empty for a pure number; ``%`` of a share, which is only printed
            in percent.
        scale: Compared as a ratio (``log``) or as a difference (``plain``).
        margin: Largest difference that does not matter, on the scale; without it a metric has no
            verdict. It becomes an entry of ``MARGINS``.
        tables: Where it is shown. MLflow has those of ``main`` for each job; the report a picture
            of those in bins. Only tracks with an uncertainty have those of ``uncertainty``.
        binned: Whether it is also taken per bin of pT, |eta| and phi.
        residual: One value for each track, [T], where the metric is a function of those alone.
        reduce: That function, over the last axis.
    """

    name: str
    function: Callable[..., float]
    better: Best
    unit: str = ""
    scale: Scale = "log"
    margin: float | None = None
    tables: tuple[Place, ...] = ()
    binned: bool = False
    words: str = ""
    residual: Callable[[Tracks], Array] | None = None
    reduce: Callable[[Array], Any] | None = None

    def applies(self, tracks: Tracks) -> bool:
        """False for a metric of an uncertainty that the tracks do not have."""
        return "uncertainty" not in self.tables or tracks.eta_sigma is not None

    @property
    def factor(self) -> float:
        """Factor from the value to what is printed."""
        return 100.0 if self.unit == "%" else 1.0

    def head(self, name: str | None = None) -> str:
        """Head of its column, perhaps under another name: name, unit and direction."""
        unit = f" [{self.unit}]" if self.unit else ""
        return f"{name or self.name}{unit} {ARROWS[self.better]}"
