"""Verdicts where seeds have failed: what they could have given, at its worst and at its best.

To leave a failed seed out flatters its arm. A verdict on the seeds that are left holds only where
it would hold with each failed seed at the value that speaks most against it (bounds without a model
of the failures, Horowitz and Manski, J. Am. Stat. Assoc. 95 (2000) 77).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import betaincinv

from headsweep.stats.intervals import CONFIDENCE
from headsweep.stats.margins import Better
from headsweep.stats.tracks import Array
from headsweep.stats.verdict import Verdict
from headsweep.stats.welch import classify

Interval = tuple[Any, Any]
"""Lower and upper ends, scalars or arrays."""


def completions(
    seen: Sequence[Array],
    failed: Sequence[Array],
    weights: Sequence[float] | Array,
    better: Better = "lower",
) -> tuple[list[Array], list[Array]]:
    """Values of all seeds of each cell, where their weighted sum is smallest and where largest.

    A failed seed is at best as good as the best seed seen in any cell. At worst it is a head
    without information, or the worst seed seen where that is worse.

    Args:
        seen: A metric of each finished seed of each cell, [..., n_c] each.
        failed: What a head without information has, for each failed seed of each cell, [f_c] each.
        weights: Those of the cells in the sum; two arms are a sum with weights 1 and -1.
        better: The direction of the metric.

    Returns:
        The smallest and the largest case, [..., n_c + f_c] for each cell, the failed seeds last.
    """
    everything = np.concatenate(seen, axis=-1)
    low, high = (end(everything, axis=-1, keepdims=True) for end in (np.min, np.max))

    def ends(blind: Array) -> tuple[Array, Array]:
        if better == "lower":
            return low + np.zeros_like(blind), np.maximum(blind, high)
        return np.minimum(blind, low), high + np.zeros_like(blind)

    def case(sign: float) -> list[Array]:
        return [
            np.concatenate([cell, ends(blind)[int(sign * weight > 0)]], axis=-1)
            for cell, blind, weight in zip(seen, failed, weights, strict=True)
        ]

    return case(-1.0), case(1.0)


def outer(found: Interval, smallest: Interval, largest: Interval) -> Interval:
    """Interval over what the failed seeds could have given.

    Only the end that speaks against a claim counts of each case: a failed seed that was far worse
    makes the interval wide on both sides, but takes nothing from "worse".

    Args:
        found: On the seeds that are left.
        smallest: On all, where the difference is smallest, see ``completions``.
        largest: On all, where it is largest.
    """
    return np.minimum(found[0], smallest[0]), np.maximum(found[1], largest[1])


def allowing_for_failures(found: Verdict, smallest: Verdict, largest: Verdict) -> Verdict:
    """``found`` with its simultaneous interval widened as ``outer``, and the word read from it."""
    low, high = outer(*((v.sim_low, v.sim_high) for v in (found, smallest, largest)))
    comparison = found.comparison
    word = classify(low, high, comparison.margin, comparison.better).item()
    return replace(found, sim_low=float(low), sim_high=float(high), word=word)


def rate_limit(failed: int, n: int) -> float:
    """Share of seeds that may fail, given that so many of n have: one-sided 95% limit.

    The exact limit of Clopper and Pearson (Biometrika 26 (1934) 404). NaN where n = 0.
    """
    if n == 0:
        return float("nan")
    return 1.0 if failed == n else float(betaincinv(failed + 1, n - failed, CONFIDENCE))
