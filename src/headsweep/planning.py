"""``headsweep plan``: from a pilot's spread, how many seeds a verdict takes, and how long.

Only the validation split is read, and no difference that the pilot found: planning decides nothing.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headsweep import labels, store
from headsweep.config import DesignConfig
from headsweep.contrast import Moments, on_scale, welch
from headsweep.effects import event_means, pairs, values_of
from headsweep.errors import UserError
from headsweep.metrics import METRICS
from headsweep.power import Design, Needed
from headsweep.samples import Row, val_row
from headsweep.verdict import MARGINS


@dataclass(frozen=True)
class Planned:
    """What one comparison would take.

    Attributes:
        arm: Label of the configuration.
        control: Label of the one that it is compared with.
        spread: Standard deviation of one seed in arm and control, on the metric's scale.
        events: Standard error from the sample of events, on the same scale.
        needed: Numbers of seeds per arm.
        seconds: Training of one seed of both, on one worker.
    """

    arm: str
    control: str
    spread: tuple[float, float]
    events: float
    needed: Needed
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What a pilot says.

    Attributes:
        metric: What is to be compared.
        margin: eps on its scale.
        comparisons: m.
        comparing: Every comparison of the design.
    """

    metric: str
    margin: float
    comparisons: int
    comparing: list[Planned]

    def words(self) -> str:
        """What the numbers are for."""
        relative = MARGINS[self.metric].scale == "log"
        margin = f"{math.expm1(self.margin):.1%}" if relative else f"{self.margin:.3g}"
        m = self.comparisons
        family = "one comparison at 5%" if m == 1 else f"{m} comparisons at 5% together"
        return f"{self.metric}, margin {margin}, power 80%, {family}; read on validation"

    def limits(self) -> list[str]:
        """Where no number of seeds would do, a line for each comparison."""
        return [
            f"{one.arm} against {one.control}: {one.needed.limit}"
            for one in self.comparing
            if one.needed.limit
        ]


def plan(folder: Path, metric: str | None = None, margin: float | None = None) -> Plan:
    """Plan the comparisons of a sweep from the members that it has.

    Args:
        folder: The sweep's folder.
        metric: One with a margin that is a function of tracks; None for the design's first.
        margin: eps, relative where the metric is compared as a ratio; None for the default.

    Raises:
        UserError: There is no such sweep, or its members do not give a spread.
    """
    jobs = labels.read_jobs(folder) if folder.is_dir() else []
    if not jobs:
        raise UserError(f"{folder}: no jobs to plan from; headsweep list shows what there is")
    spec = store.read_spec(folder)
    if "search" in spec:
        raise UserError(f"{folder} is a search; plan from a grid, whose comparisons are fixed")
    if any(job.folds for job in jobs):
        raise UserError(f"{folder} is cross-validated: its precision comes from split seeds")
    design = DesignConfig(**spec.get("design", {}))
    if design.kind == "factorial":
        raise UserError(f"{folder}: a factorial design cannot be planned yet; plan from another")
    metric = metric or design.metrics[0]
    if metric not in MARGINS or metric not in METRICS:
        known = ", ".join(name for name in MARGINS if name in METRICS)
        raise UserError(f"--metric {metric}: cannot be planned; one of {known}")
    rows = [val_row(label, own) for label, own in labels.group(jobs).items()]
    family = pairs([row.label for row in rows], design.kind)
    if not family:
        raise UserError(f"{folder} has one configuration: nothing to compare")
    m = max(len(family) * len(design.metrics), design.comparisons or 0)
    default = MARGINS[metric]
    eps = default.value if margin is None else margin
    if margin is not None and default.scale == "log":
        eps = math.log1p(margin)
    moments = {row.label: _moments(row, metric) for row in rows}
    events = event_means(rows, metric, np.random.default_rng(0))
    by_label = {row.label: row for row in rows}
    comparing = []
    for arm, control in family:
        ours, theirs = moments[arm], moments[control]
        resampled = [events.get(label) for label in (arm, control)]
        together = [values for values in resampled if values is not None]
        variance = float(np.var(together[0] - together[1], ddof=1)) if len(together) == 2 else 0.0
        sample = by_label[arm].samples[0].tracks
        needed = Needed.of(
            Design((float(ours.variance), float(theirs.variance)), events=variance),
            float(welch(ours, theirs).df),
            eps,
            comparisons=m,
            unit="seeds per arm",
            n_events=len(np.unique(sample.event)),
        )
        spread = (math.sqrt(ours.variance), math.sqrt(theirs.variance))
        seconds = sum(by_label[label].seconds for label in (arm, control))
        comparing.append(Planned(arm, control, spread, math.sqrt(variance), needed, seconds))
    return Plan(metric, eps, m, comparing)


def _moments(row: Row, metric: str) -> Moments:
    if len(row.samples) < 2:
        raise UserError(f"{row.label}: {len(row.samples)} finished seeds have no spread; train two")
    return Moments.of(on_scale(values_of(row.samples, metric), MARGINS[metric].scale, row.label))


def to_rows(found: Plan, workers: int) -> tuple[list[str], list[list[str]]]:
    """Column heads and cells of a plan as a table.

    Args:
        found: The plan.
        workers: How many train side by side.
    """
    from headsweep.display import duration

    factor, unit = (100, " [%]") if MARGINS[found.metric].scale == "log" else (1, "")
    columns = ["", "against", f"spread{unit}", f"from events{unit}"]
    columns += ["seeds for a difference", "time", "seeds for equivalence", "time"]

    def cells(n: int | None, upper: int | None, one: Planned) -> list[str]:
        if n is None:
            return ["no number", "–"]
        more = "more than 10,000" if upper is None else f"{upper:,}"
        return [f"{n:,} (to {more})", duration(n * one.seconds / workers)]

    rows = [
        [
            one.arm,
            one.control,
            " / ".join(f"{factor * value:.2g}" for value in one.spread),
            f"{factor * one.events:.2g}",
            *cells(one.needed.difference, one.needed.difference_upper, one),
            *cells(one.needed.equivalence, one.needed.equivalence_upper, one),
        ]
        for one in found.comparing
    ]
    return columns, rows
