"""``headsweep plan``: from a pilot's spread, how many seeds a verdict takes, and how long.

Only the validation split is read, and no difference that the pilot found: planning decides nothing.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headsweep.config import DesignConfig
from headsweep.errors import UserError
from headsweep.report.comparisons import event_means, pairs, values_of
from headsweep.report.predictions import Row, val_row
from headsweep.stats.factorial import Contrast, contrasts
from headsweep.stats.metrics import METRICS, Array
from headsweep.stats.power import Design, Needed
from headsweep.stats.verdict import MARGINS
from headsweep.stats.welch import Moments, combine, on_scale
from headsweep.store import labels, runs


@dataclass(frozen=True)
class Planned:
    """What one comparison would take.

    Attributes:
        arm: Label of the configuration.
        control: Label of the one that it is compared with.
        spread: Standard deviation of one seed in arm and control, or in each cell of a factorial
            design, on the metric's scale.
        events: Standard error from the sample of events, on the same scale.
        comparisons: m of its family.
        needed: Numbers of seeds per arm or cell.
        seconds: Training of one seed of each of them, on one worker.
    """

    arm: str
    control: str
    spread: tuple[float, ...]
    events: float
    comparisons: int
    needed: Needed
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What a pilot says.

    Attributes:
        metric: What is to be compared.
        margin: eps on its scale.
        comparing: Every comparison of the design.
        seconds: Training of one seed of every configuration, on one worker.
    """

    metric: str
    margin: float
    comparing: list[Planned]
    seconds: float

    @property
    def unit(self) -> str:
        """What is counted: ``seeds per arm`` or ``seeds per cell``."""
        return self.comparing[0].needed.unit

    def words(self) -> str:
        """What the numbers are for."""
        relative = MARGINS[self.metric].scale == "log"
        margin = f"{math.expm1(self.margin):.1%}" if relative else f"{self.margin:.3g}"
        sizes = list(dict.fromkeys(one.comparisons for one in self.comparing))
        family = f"{sizes[0]} comparisons at 5% together"
        if len(sizes) > 1:
            family = f"families of {' and '.join(map(str, sizes))} comparisons, each at 5%"
        elif sizes == [1]:
            family = "one comparison at 5%"
        return f"{self.metric}, margin {margin}, power 80%, {family}; read on validation"

    def totals(self, workers: int) -> list[str]:
        """How long the whole sweep takes with enough seeds for every comparison.

        Args:
            workers: How many train side by side.
        """
        from headsweep.terminal import duration

        lines = []
        for what in ("difference", "equivalence"):
            numbers = [getattr(one.needed, what) for one in self.comparing]
            if None not in numbers:
                n = max(numbers)
                time = duration(n * self.seconds / workers)
                lines.append(f"{what} in every comparison: {n:,} {self.unit}, {time} in all")
        return lines

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
    spec = runs.read_spec(folder)
    if "search" in spec:
        raise UserError(f"{folder} is a search; plan from a grid, whose comparisons are fixed")
    if any(job.folds for job in jobs):
        raise UserError(f"{folder} is cross-validated: its precision comes from split seeds")
    design = DesignConfig(**spec.get("design", {}))
    metric = metric or design.metrics[0]
    if metric not in MARGINS or metric not in METRICS:
        known = ", ".join(name for name in MARGINS if name in METRICS)
        raise UserError(f"--metric {metric}: cannot be planned; one of {known}")
    groups = labels.group_rows(jobs)
    family = _family(groups, design, len(spec.get("jobs", ())))
    if not family:
        raise UserError(f"{folder} has one configuration: nothing to compare")
    default = MARGINS[metric]
    eps = default.value if margin is None else margin
    if margin is not None and default.scale == "log":
        eps = math.log1p(margin)
    rows = [val_row(label, own) for label, own in groups.items()]
    moments = [_moments(row, metric) for row in rows]
    means = event_means(rows, metric, np.random.default_rng(0))
    events = [means.get(row.label) for row in rows]
    unit = "seeds per cell" if design.kind == "factorial" else "seeds per arm"
    comparing = []
    for contrast, m in family:
        parts = [(w, i) for i, w in enumerate(contrast.weights) if w]
        parts.sort(key=lambda part: -part[0])  # the arm comes first
        variance = _events_variance([(w, events[i]) for w, i in parts])
        weights, own = [w for w, _ in parts], [moments[i] for _, i in parts]
        needed = Needed.of(
            Design(
                tuple(float(w**2 * part.variance) for w, part in zip(weights, own, strict=True)),
                events=variance,
            ),
            float(combine(own, weights).df),
            eps,
            comparisons=m,
            unit=unit,
            n_events=len(np.unique(rows[parts[0][1]].samples[0].tracks.event)),
        )
        comparing.append(
            Planned(
                contrast.name,
                contrast.against,
                tuple(math.sqrt(part.variance) for part in own),
                math.sqrt(variance),
                m,
                needed,
                sum(rows[i].seconds for _, i in parts),
            )
        )
    return Plan(metric, eps, comparing, sum(row.seconds for row in rows))


def _family(
    groups: Mapping[str, Sequence[labels.Job]], design: DesignConfig, planned: int
) -> list[tuple[Contrast, int]]:
    """Every comparison as weights of the configurations, with m of its family."""
    names = [*groups]
    if design.kind == "factorial":
        found = contrasts([own[0].choices for own in groups.values()])
        orders = Counter(contrast.order for contrast in found)
        return [(contrast, orders[contrast.order] * len(design.metrics)) for contrast in found]
    found = []
    for arm, control in pairs(names, design.kind):
        weights = np.zeros(len(names))
        weights[names.index(arm)], weights[names.index(control)] = 1, -1
        found.append(Contrast(arm, control, weights, 1))
    # As a report counts them: some of the sweep's configurations may not be there yet.
    m = max(max(len(found), planned - 1) * len(design.metrics), design.comparisons or 0)
    return [(contrast, m) for contrast in found]


def _events_variance(parts: Sequence[tuple[float, Array | None]]) -> float:
    """Of a weighted sum over resampled events; 0 where one has none."""
    known = [w * means for w, means in parts if means is not None]
    return float(np.var(sum(known), ddof=1)) if len(known) == len(parts) else 0.0


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
    from headsweep.terminal import duration

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
            _range([factor * value for value in one.spread]),
            f"{factor * one.events:.2g}",
            *cells(one.needed.difference, one.needed.difference_upper, one),
            *cells(one.needed.equivalence, one.needed.equivalence_upper, one),
        ]
        for one in found.comparing
    ]
    return columns, rows


def _range(values: Sequence[float]) -> str:
    """Two values, or from where to where more of them go."""
    if len(values) == 2:
        return " / ".join(f"{value:.2g}" for value in values)
    return f"{min(values):.2g} to {max(values):.2g}"
