"""Sequential looks: the error rate that each look at a growing number of seeds may use.

A verdict that is read again and again, each time at 5%, errs far more often than in 5%. Spending of
the Pocock type (Lan and DeMets, Biometrika 70 (1983) 659) lets alpha ln(1 + (e - 1) t) be used up
by the time that a share t of the planned seeds is there. The nominal level of each look follows by
the recursion of Armitage, McPherson and Rowe (JRSS A 132 (1969) 235).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from headsweep.stats.power import ALPHA

Array = NDArray[np.float64]

LEAST_CAP = 60
"""Seeds per arm at which the bounds of a sweep that was extended by hand end, or more."""

ROUNDS = 12
"""Looks that these bounds allow for, whether they are taken or not: with 5 seeds 5, 10, .., 60."""

FARTHEST = 10.0
"""Largest |z| that is looked at."""

NODES = 100
"""Of the Gauss-Legendre quadrature over the values at which no look has decided."""


def spent(fraction: float, alpha: float = ALPHA) -> float:
    """Error that may be used up by a share of the planned information; all of it at 1 and above."""
    return alpha * math.log1p((math.e - 1) * min(fraction, 1.0))


def nominal_levels(fractions: Sequence[float], alpha: float = ALPHA) -> list[float]:
    """Two-sided level of each look, so that all together err in ``spent`` of the last.

    Args:
        fractions: Information at each look over the planned one, rising. The first that reaches 1
            uses all that is left, and may lie above it; later ones have nothing.
        alpha: Error of all looks together.

    Raises:
        ValueError: The fractions do not rise from above 0.
    """
    times = tuple(float(t) for t in fractions)
    if not times or not all(a < b < math.inf for a, b in pairwise((0.0, *times))):
        raise ValueError(f"fractions are {list(fractions)}, not rising numbers above 0")
    return [2 * float(ndtr(-_bound(times[: k + 1], alpha))) for k in range(len(times))]


def error_rate(times: Sequence[float], levels: Sequence[float]) -> float:
    """Chance that some look finds a difference where there is none.

    Args:
        times: Information at each look, in any unit, rising.
        levels: The two-sided level of each.
    """
    total, before = 0.0, None
    for time, level in zip(times, levels, strict=True):
        bound = -float(ndtri(level / 2))
        total += level if before is None else _crossing(before, time, bound)
        before = _advance(before, time, bound)
    return total


class _Look(NamedTuple):
    """A look at a Brownian motion that starts at 0.

    Attributes:
        time: Its information.
        bound: On |z|; infinite where no error is left.
        nodes: Values of the motion inside the bound.
        weights: Their density, times the weights of the quadrature.
    """

    time: float
    bound: float
    nodes: Array
    weights: Array


@cache
def _quadrature() -> tuple[Array, Array]:
    return np.polynomial.legendre.leggauss(NODES)


@lru_cache(maxsize=4096)
def _bound(times: tuple[float, ...], alpha: float) -> float:
    """The bound on |z| that spending gives the last of several looks."""
    if len(times) == 1:
        return -float(ndtri(spent(times[0], alpha) / 2))
    new = spent(times[-1], alpha) - spent(times[-2], alpha)
    if new <= 0:
        return math.inf
    before = _inside(times[:-1], alpha)
    low, high = 0.0, FARTHEST
    while high - low > 1e-9:
        middle = (low + high) / 2
        if _crossing(before, times[-1], middle) > new:
            low = middle
        else:
            high = middle
    return high


@lru_cache(maxsize=512)
def _inside(times: tuple[float, ...], alpha: float) -> _Look:
    """The last of several looks, within the bounds that spending gives them."""
    before = _inside(times[:-1], alpha) if len(times) > 1 else None
    return _advance(before, times[-1], _bound(times, alpha))


def _crossing(before: _Look, time: float, bound: float) -> float:
    """Chance to be inside at every look before, and outside at this one."""
    scale, end = math.sqrt(time - before.time), bound * math.sqrt(time)
    outside = ndtr((-end - before.nodes) / scale) + ndtr((before.nodes - end) / scale)
    return float(before.weights @ outside)


def _advance(before: _Look | None, time: float, bound: float) -> _Look:
    """The density behind a look, inside its bound."""
    nodes, weights = _quadrature()
    end = min(bound, FARTHEST) * math.sqrt(time)
    nodes, weights = end * nodes, end * weights
    if before is None:
        density = _normal(nodes, time)
    else:
        steps = nodes[:, None] - before.nodes
        density = _normal(steps, time - before.time) @ before.weights
    return _Look(time, bound, nodes, weights * density)


def _normal(values: Array, variance: float) -> Array:
    density: Array = np.exp(-(values**2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)
    return density


@dataclass(frozen=True)
class Looks:
    """The looks at one comparison: one at all planned seeds, a fixed design, or sequential ones.

    Within the planned number, fixed before the first look, all looks together err in 5%. A sweep
    that is extended beyond it has spent its 5%, and no bound takes that back. Its later looks have
    the levels of one that is looked at ``ROUNDS`` times up to a cap, also where looks are left out:
    the number of seeds of the next look was chosen by what the first one showed.

    Attributes:
        sizes: Seeds per arm at each look, oldest first; the last is the present one.
        planned: Seeds per arm that were planned when the first look was taken.
        when: Time of each look, for whoever reads the report.
    """

    sizes: tuple[float, ...]
    planned: float
    when: tuple[str, ...] = ()

    @property
    def times(self) -> tuple[float, ...]:
        """Information at each look.

        A look at no more seeds than the one before, some trained anew, counts as one more seed.
        """
        found: list[float] = []
        for n in self.sizes:
            found.append(max(n, found[-1] + 1) if found else n)
        return tuple(found)

    @property
    def extended(self) -> bool:
        """True if there are more seeds than were planned."""
        return self.times[-1] > self.planned

    @property
    def cap(self) -> float:
        """Seeds per arm at which the error is spent."""
        return max(LEAST_CAP, ROUNDS * self.planned) if self.extended else self.planned

    @property
    def sequential(self) -> bool:
        """True unless this is the only look, at all planned seeds."""
        return len(self.sizes) > 1 or self.sizes[0] < self.planned

    @property
    def alpha(self) -> float:
        """The level of the present look, for one comparison; 0 where nothing is left to spend."""
        if not self.sequential:
            return ALPHA
        times = self._with_left_out() if self.extended else self.times
        return nominal_levels([t / self.cap for t in times])[-1]

    def _with_left_out(self) -> list[float]:
        """Information at each look of an extended sweep, and at those between that it left out."""
        step, times = self.cap / ROUNDS, [self.times[0]]
        for time in self.times[1:]:
            # A next one less than half a step before the look is that look.
            while times[-1] + step < self.cap and times[-1] + 1.5 * step <= time:
                times.append(times[-1] + step)
            times.append(time)
        return times

    def history(self) -> list[tuple[float, float]]:
        """Level of each look, and the error rate of all looks until then."""
        parts = [replace(self, sizes=self.sizes[: k + 1]) for k in range(len(self.sizes))]
        levels = [part.alpha for part in parts]
        return [
            (level, error_rate(self.times[: k + 1], levels[: k + 1]))
            for k, level in enumerate(levels)
        ]

    def words(self) -> str:
        """Level and number of the look; nothing of a fixed design."""
        return f" at level {self.alpha:.2%} of look {len(self.sizes)}" if self.sequential else ""

    def after(self, n: float) -> float:
        """The level of the next look, at n seeds per arm."""
        return replace(self, sizes=(*self.sizes, n)).alpha
