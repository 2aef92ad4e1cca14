"""Statistical verdicts on two arms: pure functions of one value per seed, see ``compare``.

Delta = mean of the arm - mean of the control, of logs or of plain values. Welch's t with two
layers of variance, seeds and events. The verdict is read from the interval at 1 - 0.05/m: inside
+-margin it is equivalent, else on one side of 0 better or worse, else undecided.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from headsweep.stats.bootstrap import RESAMPLES
from headsweep.stats.power import Design, Needed
from headsweep.stats.welch import (
    Array,
    Better,
    Difference,
    Improvement,
    Moments,
    Scale,
    combine,
    improvement,
    on_scale,
    read,
)

Word = Literal["equivalent", "better", "worse", "undecided"]


@dataclass(frozen=True)
class Margin:
    """eps, the largest difference that does not matter, on its scale."""

    value: float
    scale: Scale


_RATIO = Margin(math.log(1.05), "log")
MARGINS: Mapping[str, Margin] = {
    **dict.fromkeys(("qoverpt_r68", "qoverpt_core", "qoverpt_iterative_rms"), _RATIO),
    **dict.fromkeys(("qoverpt_iqr", "qoverpt_std", "pt_core", "pt_rmse"), _RATIO),
    **dict.fromkeys(("eta_abs68", "eta_core", "eta_rmse"), _RATIO),
    **dict.fromkeys(("phi_abs68", "phi_core", "phi_rmse"), _RATIO),
    **dict.fromkeys(("gap", "loss_at_10pct", "dev_loss", "last_dev_loss"), _RATIO),
    **dict.fromkeys(("train_loss", "last_val_loss"), _RATIO),
    "charge_misid": Margin(0.002, "plain"),
    "scale_bias": Margin(0.005, "plain"),
    "sd_ratio": Margin(math.log(1.5), "log"),
}
"""Default margins by metric (statistics.md 3); a metric that is not here has none.

``scale_bias`` is in shares of pT. ``sd_ratio`` is that of ``stability``.
"""


@dataclass(frozen=True)
class Verdict:
    """A comparison of an arm with its control; all on the scale of the comparison.

    Attributes:
        word: equivalent, better, worse or undecided.
        delta: Arm minus control.
        se_seeds: Standard error from the spread of seeds or blocks; NaN without one.
        se_events: Standard error from the sample of events; ``None`` if it was not taken.
        df: Degrees of freedom.
        low: Lower end of the plain 95% interval; NaN without one.
        high: Upper end.
        sim_low: Lower end of the interval at 1 - 0.05/m, from which the verdict is read.
        sim_high: Upper end.
        p_value: Of no difference, not adjusted; NaN without an interval.
        margin: eps.
        scale: ``log`` or ``plain``.
        better: The direction of the metric.
        comparisons: m.
        n_arm: Values of the arm.
        n_control: Values of the control.
        unit: What is counted: ``seeds``, ``split seeds``, ``folds``.
        test: The test behind the p-value.
        needed: What it would take to decide; only where undecided with a spread.
        improvement: Probability of improvement; ``None`` where there are no two free samples.
        reason: Why there is no verdict; empty if there is an interval.
    """

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
    margin: float
    scale: Scale
    better: Better
    comparisons: int
    n_arm: int
    n_control: int
    unit: str
    test: str
    needed: Needed | None = None
    improvement: Improvement | None = None
    reason: str = ""

    @property
    def real_but_negligible(self) -> bool:
        """Equivalent, though 0 is excluded."""
        return self.word == "equivalent" and (self.sim_low > 0 or self.sim_high < 0)

    def text(self) -> str:
        """The verdict and what it rests on, in a sentence."""
        word = f"{self.word} (real but negligible)" if self.real_but_negligible else self.word
        head = f"{word}: {self.change(self.delta)}"
        counts = f"n = {self.n_arm} and {self.n_control} {self.unit}"
        if self.reason:
            return f"{head}, {counts}; {self.reason}"
        parts = [f"{head}, 95% interval {self.range(self.low, self.high)}"]
        if self.comparisons > 1:
            parts.append(
                f"over {self.comparisons} comparisons {self.range(self.sim_low, self.sim_high)}"
            )
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


def compare(
    arm: Array,
    control: Array,
    margin: float,
    *,
    scale: Scale = "log",
    better: Better = "lower",
    comparisons: int = 1,
    arm_events: Array | None = None,
    control_events: Array | None = None,
    n_events: int | None = None,
) -> Verdict:
    """Compare two arms of independent seeds by Welch's t with both layers of variance.

    Args:
        arm: The metric of each seed, [n_A].
        control: The same for the control, [n_B]; equal seeds are not paired.
        margin: eps on the scale of the comparison, see ``MARGINS``.
        scale: Logs or plain values. A metric that is best at 0 or 1 is compared by its distance.
        better: The direction of the metric.
        comparisons: m, comparisons times primary metrics, fixed before the run.
        arm_events: The mean over the arm's seeds, on the scale of the comparison, on each of R
            resamples of events, [R]; see ``bootstrap.event_bootstrap``. Without it the verdict
            holds for this sample of events only.
        control_events: The same for the control on the same resamples, [R].
        n_events: Events of the sample, to say how many would do.

    Raises:
        UserError: A value is not finite, or not positive on the log scale.
        ValueError: The shapes or numbers of the arguments cannot be.
    """
    values = checked(arm, control, scale, margin, comparisons)
    events = _event_variance(arm_events, control_events)
    return compare_sum(
        [Moments.of(v) for v in values],
        (1.0, -1.0),
        margin,
        events=events,
        n_events=n_events,
        scale=scale,
        better=better,
        comparisons=comparisons,
        improvement=improvement(*values, better=better),
    )


def compare_sum(
    moments: Sequence[Moments],
    weights: Sequence[float] | Array,
    margin: float,
    *,
    events: float | None,
    n_events: int | None,
    scale: Scale,
    better: Better,
    comparisons: int,
    cells: str = "arm",
    improvement: Improvement | None = None,
) -> Verdict:
    """Compare a weighted sum of means with 0; two arms are the sum with weights 1 and -1.

    Args:
        moments: Of each cell's seeds, on the scale of the comparison.
        weights: Theirs; the arm is what has a positive one.
        margin: eps.
        events: V_ev, the variance of the sum over resamples of events.
        n_events: Events of the sample.
        scale: Logs or plain values.
        better: The direction of the metric.
        comparisons: m of the family.
        cells: What a cell is called.
        improvement: See ``Verdict``.
    """
    seeds, both = combine(moments, weights), combine(moments, weights, events or 0.0)
    pairs = list(zip(weights, moments, strict=True))
    design = Design(tuple(float(w**2 * m.variance) for w, m in pairs), events=events or 0.0)
    n_arm, n_control = (sum(m.n for w, m in pairs if sign * w > 0) for sign in (1, -1))
    return decide(
        both,
        (both.interval(), both.interval(comparisons)),
        margin,
        test="Welch",
        p_value=float(both.p_value()),
        plan=lambda: Needed.of(
            design,
            float(seeds.df),
            margin,
            comparisons=comparisons,
            unit=f"seeds per {cells}",
            n_events=n_events,
        ),
        se_seeds=float(seeds.error),
        se_events=None if events is None else math.sqrt(events),
        scale=scale,
        better=better,
        comparisons=comparisons,
        counts=(n_arm, n_control),
        unit="seeds",
        improvement=improvement,
    )


def compare_blocks(
    arm: Array,
    control: Array,
    margin: float,
    *,
    folds: int | None = None,
    scale: Scale = "log",
    better: Better = "lower",
    comparisons: int = 1,
) -> Verdict:
    """Compare two arms on the same blocks by the paired t over blocks.

    A block is a split seed, SE^2 = s_d^2 / J, or a fold, SE^2 = (1/J + 1/(k - 1)) s_d^2 (Nadeau
    and Bengio, Machine Learning 52 (2003) 239); J - 1 degrees of freedom. Initialisation seeds
    within a block are averaged before; they are never blocks.

    Args:
        arm: The metric of each block, [J].
        control: The same blocks of the control, [J].
        margin: eps on the scale of the comparison.
        folds: k, where the blocks are folds of (repeated) k-fold cross-validation.
        scale: Logs or plain values.
        better: The direction of the metric.
        comparisons: m, comparisons times primary metrics.

    Raises:
        UserError: A value is not finite, or not positive on the log scale.
        ValueError: The blocks do not pair, or another argument cannot be.
    """
    values = checked(arm, control, scale, margin, comparisons)
    if len(values[0]) != len(values[1]):
        raise ValueError(f"{len(values[0])} and {len(values[1])} blocks do not pair")
    if folds is not None and folds < 2:
        raise ValueError(f"folds is {folds}, below 2")
    unit = "split seeds" if folds is None else "folds"
    overlap = 0.0 if folds is None else 1 / (folds - 1)
    blocks = Moments.of(values[0] - values[1])
    n, variance = blocks.n, float(blocks.variance)
    error = math.sqrt(variance * (1 / n + overlap))
    design = Design((variance,), overlap=overlap)
    both = Difference(blocks.mean, error, n - 1 if n > 1 else math.nan)
    return decide(
        both,
        (both.interval(), both.interval(comparisons)),
        margin,
        test="paired t" if folds is None else "Nadeau-Bengio",
        p_value=float(both.p_value()),
        plan=lambda: Needed.of(design, n - 1, margin, comparisons=comparisons, unit=unit),
        se_seeds=error,
        scale=scale,
        better=better,
        comparisons=comparisons,
        counts=(n, n),
        unit=unit,
    )


def decide(
    difference: Difference,
    intervals: tuple[tuple[float, float], tuple[float, float]],
    margin: float,
    *,
    test: str,
    p_value: float,
    plan: Callable[[], Needed],
    se_seeds: float,
    se_events: float | None = None,
    scale: Scale,
    better: Better,
    comparisons: int,
    counts: tuple[int, int],
    unit: str,
    improvement: Improvement | None = None,
    reason: str = "",
) -> Verdict:
    """Read the verdict of one difference from its intervals.

    Args:
        difference: With its standard error, NaN without one.
        intervals: The plain one, and the simultaneous one.
        margin: eps.
        test: See ``Verdict``, as for all that follow.
        p_value: Of the test.
        plan: What it would take; called where it is undecided.
        se_seeds: From seeds.
        se_events: From events.
        scale: Of the comparison.
        better: The direction of the metric.
        comparisons: m.
        counts: Values of the arm and of the control.
        unit: What is counted.
        improvement: Probability of improvement.
        reason: Why there is no interval, where the standard error does not say it.
    """
    (low, high), (sim_low, sim_high) = intervals
    word: Word = read(sim_low, sim_high, margin, better).item()
    if not reason and not math.isfinite(difference.error):
        reason = f"no verdict: fewer than two {unit} in an arm have no spread to judge by"
    elif not reason and difference.error == 0:
        reason = f"no verdict: the {unit} do not differ, so there is no spread to judge by"
    return Verdict(
        word=word,
        delta=float(difference.delta),
        se_seeds=se_seeds,
        se_events=se_events,
        df=float(difference.df),
        low=float(low),
        high=float(high),
        sim_low=float(sim_low),
        sim_high=float(sim_high),
        p_value=p_value,
        margin=margin,
        scale=scale,
        better=better,
        comparisons=comparisons,
        n_arm=counts[0],
        n_control=counts[1],
        unit=unit,
        test=test,
        needed=plan() if word == "undecided" and not reason else None,
        improvement=improvement,
        reason=reason,
    )


def checked(
    arm: Array, control: Array, scale: Scale, margin: float, comparisons: int
) -> tuple[Array, Array]:
    """Both arms on the scale of the comparison.

    Raises:
        UserError: A value is not finite, or not positive on the log scale.
        ValueError: Another argument cannot be.
    """
    if not 0 < margin < math.inf:
        raise ValueError(f"margin is {margin}, not a positive number")
    if comparisons < 1:
        raise ValueError(f"comparisons is {comparisons}, below 1")
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
    if np.ndim(arm) != 1 or len(arm) < RESAMPLES:
        raise ValueError(f"{np.shape(arm)} resamples of events; at least {RESAMPLES} are needed")
    both = [
        on_scale(values, "plain", name)
        for name, values in (("arm_events", arm), ("control_events", control))
    ]
    return float(Moments.of(both[0] - both[1]).variance)
