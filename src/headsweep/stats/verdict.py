"""Statistical verdicts on two arms: pure functions of one value per seed, see ``compare``.

Delta = mean of the arm - mean of the control, of logs or of plain values. Welch's t with two
layers of variance, seeds and events. The verdict is read from the interval at 1 - alpha/m, where
alpha is 0.05, or the level of one of several looks: inside +-margin it is equivalent, else on one
side of 0 better or worse, else undecided.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from headsweep.stats.bootstrap import EVENT_RESAMPLES
from headsweep.stats.margins import Better, Comparison, Scale
from headsweep.stats.power import Design, Needed
from headsweep.stats.tracks import Array
from headsweep.stats.welch import (
    Difference,
    Improvement,
    Moments,
    classify,
    combine,
    improvement,
    on_scale,
)

Word = Literal["equivalent", "better", "worse", "undecided"]


@dataclass(frozen=True)
class Verdict:
    """The outcome of comparing an arm with its control; all on the scale of the comparison.

    Attributes:
        comparison: Scale, direction, margin, m and unit; each is a property of the verdict, too.
        word: equivalent, better, worse or undecided.
        delta: Arm minus control.
        se_seeds: Standard error from the spread of seeds or blocks; NaN without one.
        se_events: Standard error from the sample of events; ``None`` if it was not taken.
        df: Degrees of freedom.
        low: Lower end of the plain 95% interval; NaN without one.
        high: Upper end.
        sim_low: Lower end of the interval at 1 - alpha/m, from which the verdict is read.
        sim_high: Upper end.
        p_value: Of no difference, not adjusted; NaN without an interval.
        n_arm: Values of the arm.
        n_control: Values of the control.
        test: The test behind the p-value.
        needed: What it would take to decide; only where undecided with a spread.
        improvement: Probability of improvement; ``None`` where there are no two free samples.
        reason: Why there is no verdict; empty if there is an interval.
    """

    comparison: Comparison
    word: Word
    delta: float
    se_seeds: float
    se_events: float | None
    df: float
    low: float
    high: float
    sim_low: float
    sim_high: float
    p_value: float
    n_arm: int
    n_control: int
    test: str
    needed: Needed | None = None
    improvement: Improvement | None = None
    reason: str = ""

    @property
    def scale(self) -> Scale:
        """``log`` or ``plain``."""
        return self.comparison.scale

    @property
    def better(self) -> Better:
        """The direction of the metric."""
        return self.comparison.better

    @property
    def margin(self) -> float:
        """The largest difference that does not matter."""
        return self.comparison.margin

    @property
    def comparisons(self) -> int:
        """Number of comparisons of the family."""
        return self.comparison.comparisons

    @property
    def unit(self) -> str:
        """The counted unit: ``seeds``, ``split seeds`` or ``folds``."""
        return self.comparison.unit

    @property
    def real_but_negligible(self) -> bool:
        """Equivalent, though 0 is excluded."""
        return self.word == "equivalent" and (self.sim_low > 0 or self.sim_high < 0)

    def text(self) -> str:
        """The verdict with its intervals and errors in a sentence."""
        word = f"{self.word} (real but negligible)" if self.real_but_negligible else self.word
        head = f"{word}: {self.change(self.delta)}"
        counts = f"n = {self.n_arm} and {self.n_control} {self.unit}"
        if self.reason:
            return f"{head}, {counts}; {self.reason}"
        parts = [f"{head}, 95% interval {self.range(self.low, self.high)}"]
        look = self.comparison.looks.words() if self.comparison.looks else ""
        if self.comparisons > 1 or look:
            over = f"over {self.comparisons} comparisons{look}"
            parts.append(f"{over} {self.range(self.sim_low, self.sim_high)}")
        parts += [f"margin {self.change(self.margin).lstrip('+')}", counts]
        if self.unit == "seeds":
            only = ", for this sample of events only" if self.se_events is None else ""
            parts.append(f"standard error of seeds / events {self.errors()}{only}")
        parts.append(f"{self.test} p = {self.p_value:.2g}")
        if self.needed is not None:
            parts.append(self.needed.text())
        return "; ".join(parts)

    def errors(self) -> str:
        """The standard errors from seeds, or blocks, and from events: ``1.9% / 0.8%``."""
        sizes = [self.se_seeds] if self.se_events is None else [self.se_seeds, self.se_events]
        shown = [f"{size:.1%}" if self.scale == "log" else f"{size:.2g}" for size in sizes]
        return " / ".join([*shown, "–"][:2])

    def range(self, low: float, high: float) -> str:
        """An interval in words."""
        return f"{self.change(low)} to {self.change(high)}"

    def change(self, value: float) -> str:
        """A difference in words: in percent on the log scale."""
        return f"{math.expm1(value):+z.1%}" if self.scale == "log" else f"{value:+z.3g}"


@dataclass(frozen=True)
class Evidence:
    """The outcome of a test of no difference.

    Attributes:
        name: The test.
        difference: Delta with its standard error, NaN without one.
        interval: The plain 95% interval.
        simultaneous: The interval at 1 - alpha/m.
        p_value: Not adjusted.
    """

    name: str
    difference: Difference
    interval: tuple[float, float]
    simultaneous: tuple[float, float]
    p_value: float

    @classmethod
    def of_t(cls, name: str, difference: Difference, comparison: Comparison) -> "Evidence":
        """A t test of a difference, on the terms of a comparison."""
        wide = difference.interval(comparison.comparisons, comparison.alpha)
        intervals = (difference.interval(), wide)
        plain, simultaneous = ((float(low), float(high)) for low, high in intervals)
        return cls(name, difference, plain, simultaneous, float(difference.p_value()))


def compare(
    arm: Array,
    control: Array,
    comparison: Comparison,
    *,
    arm_events: Array | None = None,
    control_events: Array | None = None,
    n_events: int | None = None,
) -> Verdict:
    """Compare two arms of independent seeds by Welch's t with both layers of variance.

    Args:
        arm: The metric of each seed, [n_A].
        control: The same for the control, [n_B]; equal seeds are not paired.
        comparison: The terms.
        arm_events: The mean over the arm's seeds, on the scale of the comparison, on each of R
            resamples of events, [R]; see ``bootstrap.event_bootstrap``. Without it the verdict
            holds for this sample of events only.
        control_events: The same for the control on the same resamples, [R].
        n_events: Events of the sample, to say how many would do.

    Raises:
        UserError: A value is not finite, or not positive on the log scale.
        ValueError: The shapes of the arguments cannot be.
    """
    values = checked(arm, control, comparison.scale)
    return compare_sum(
        [Moments.of(v) for v in values],
        (1.0, -1.0),
        comparison,
        events=_event_variance(arm_events, control_events),
        n_events=n_events,
        improvement=improvement(*values, better=comparison.better),
    )


def compare_sum(
    moments: Sequence[Moments],
    weights: Sequence[float] | Array,
    comparison: Comparison,
    *,
    events: float | None,
    n_events: int | None,
    improvement: Improvement | None = None,
) -> Verdict:
    """Compare a weighted sum of means with 0; two arms are the sum with weights 1 and -1.

    Args:
        moments: Of each cell's seeds, on the scale of the comparison.
        weights: Theirs; the arm is what has a positive one.
        comparison: The terms.
        events: V_ev, the variance of the sum over resamples of events.
        n_events: Events of the sample.
        improvement: See ``Verdict``.
    """
    seeds, both = combine(moments, weights), combine(moments, weights, events or 0.0)
    pairs = list(zip(weights, moments, strict=True))
    return decide(
        comparison,
        Evidence.of_t("Welch", both, comparison),
        counts=(
            sum(part.n for w, part in pairs if w > 0),
            sum(part.n for w, part in pairs if w < 0),
        ),
        se_seeds=float(seeds.error),
        se_events=None if events is None else math.sqrt(events),
        needed=lambda: seeds_to_decide(
            moments, weights, comparison, events=events, n_events=n_events
        ),
        improvement=improvement,
    )


def seeds_to_decide(
    moments: Sequence[Moments],
    weights: Sequence[float] | Array,
    comparison: Comparison,
    *,
    events: float | None,
    n_events: int | None,
) -> Needed:
    """The seeds that would decide a weighted sum of means; arguments as for ``compare_sum``.

    The means do not matter. ``headsweep plan`` and the report of a sweep both ask here.
    """
    pairs = zip(weights, moments, strict=True)
    variances = tuple(float(w**2 * part.variance) for w, part in pairs)
    return Needed.of(
        Design(variances, events=events or 0.0),
        float(combine(moments, weights).df),
        comparison.margin,
        comparisons=comparison.comparisons,
        unit=f"{comparison.unit} per {'arm' if len(variances) == 2 else 'cell'}",
        n_events=n_events,
        level=comparison.next_alpha,
    )


def compare_blocks(
    arm: Array, control: Array, comparison: Comparison, *, folds: int | None = None
) -> Verdict:
    """Compare two arms on the same blocks by the paired t over blocks.

    A block is a split seed, SE^2 = s_d^2 / J, or a fold, SE^2 = (1/J + 1/(k - 1)) s_d^2 (Nadeau
    and Bengio, Machine Learning 52 (2003) 239); J - 1 degrees of freedom. Initialisation seeds
    within a block are averaged before; they are never blocks.

    Args:
        arm: The metric of each block, [J].
        control: The same blocks of the control, [J].
        comparison: The terms; the unit becomes ``split seeds`` or ``folds``.
        folds: k, where the blocks are folds of (repeated) k-fold cross-validation.

    Raises:
        UserError: A value is not finite, or not positive on the log scale.
        ValueError: The blocks do not pair, or another argument cannot be.
    """
    values = checked(arm, control, comparison.scale)
    if len(values[0]) != len(values[1]):
        raise ValueError(f"{len(values[0])} and {len(values[1])} blocks do not pair")
    if folds is not None and folds < 2:
        raise ValueError(f"folds is {folds}, below 2")
    comparison = replace(comparison, unit="split seeds" if folds is None else "folds")
    overlap = 0.0 if folds is None else 1 / (folds - 1)
    blocks = Moments.of(values[0] - values[1])
    n, variance = blocks.n, float(blocks.variance)
    error = math.sqrt(variance * (1 / n + overlap))
    design = Design((variance,), overlap=overlap)
    difference = Difference(blocks.mean, error, n - 1 if n > 1 else math.nan)
    return decide(
        comparison,
        Evidence.of_t("paired t" if folds is None else "Nadeau-Bengio", difference, comparison),
        counts=(n, n),
        se_seeds=error,
        needed=lambda: Needed.of(
            design,
            n - 1,
            comparison.margin,
            comparisons=comparison.comparisons,
            unit=comparison.unit,
            level=comparison.next_alpha,
        ),
    )


def decide(
    comparison: Comparison,
    test: Evidence,
    *,
    counts: tuple[int, int],
    se_seeds: float,
    se_events: float | None = None,
    needed: Callable[[], Needed],
    improvement: Improvement | None = None,
    reason: str = "",
) -> Verdict:
    """Read the verdict from the simultaneous interval of a test.

    Args:
        comparison: The terms.
        test: The outcome of the test.
        counts: Values of the arm and of the control.
        se_seeds: Standard error from seeds, see ``Verdict`` as for all that follow.
        se_events: Standard error from events.
        needed: What it would take; called where the verdict is undecided.
        improvement: Probability of improvement.
        reason: Why there is no interval, where the standard error does not say it.
    """
    error, unit = test.difference.error, comparison.unit
    word: Word = classify(*test.simultaneous, comparison.margin, comparison.better).item()
    if not reason and not math.isfinite(error):
        reason = f"no verdict: fewer than two {unit} in an arm have no spread to judge by"
    elif not reason and error == 0:
        reason = f"no verdict: the {unit} do not differ, so there is no spread to judge by"
    elif not reason and comparison.alpha == 0:
        reason = (
            "no verdict: earlier looks have used all of their error; train a new sweep, on seeds "
            "that were not seen"
        )
    return Verdict(
        comparison=comparison,
        word=word,
        delta=float(test.difference.delta),
        se_seeds=se_seeds,
        se_events=se_events,
        df=float(test.difference.df),
        low=test.interval[0],
        high=test.interval[1],
        sim_low=test.simultaneous[0],
        sim_high=test.simultaneous[1],
        p_value=test.p_value,
        n_arm=counts[0],
        n_control=counts[1],
        test=test.name,
        needed=needed() if word == "undecided" and not reason else None,
        improvement=improvement,
        reason=reason,
    )


def checked(arm: Array, control: Array, scale: Scale) -> tuple[Array, Array]:
    """Both arms on the scale of the comparison.

    Raises:
        UserError: A value is not finite, or not positive on the log scale.
        ValueError: An arm is not one value for each seed.
    """
    for name, values in (("arm", arm), ("control", control)):
        if np.ndim(values) != 1 or not len(values):
            raise ValueError(f"{name} has shape {np.shape(values)}, not one value for each seed")
    return on_scale(arm, scale, "arm"), on_scale(control, scale, "control")


def _event_variance(arm: Array | None, control: Array | None) -> float | None:
    """V_ev from the same resamples of both arms, ``None`` without them."""
    if arm is None and control is None:
        return None
    if arm is None or control is None:
        raise ValueError("arm_events and control_events belong together; one is missing")
    if np.shape(arm) != np.shape(control):
        shapes = f"{np.shape(arm)} and {np.shape(control)}"
        raise ValueError(f"arm_events and control_events have shapes {shapes}: not one resampling")
    if np.ndim(arm) != 1 or len(arm) < EVENT_RESAMPLES:
        raise ValueError(
            f"{np.shape(arm)} resamples of events; at least {EVENT_RESAMPLES} are needed"
        )
    both = [
        on_scale(values, "plain", name)
        for name, values in (("arm_events", arm), ("control_events", control))
    ]
    return float(Moments.of(both[0] - both[1]).variance)
