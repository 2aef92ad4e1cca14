"""Sample size: the seeds and the time that a verdict takes, from a pilot (``headsweep plan``).

The split is that of the verdict, so that plan and report of one sweep say the same numbers. Test is
never read for a plan: of a sweep whose verdict is read there, validation stands in. No difference
that the pilot found is read: planning decides nothing.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

import numpy as np

from headsweep.config import DesignConfig
from headsweep.errors import UserError
from headsweep.report import scoring
from headsweep.report.absent import coinciding
from headsweep.report.fairness import check_fairness
from headsweep.report.family import NEEDS_ALL, family_size, pairs, planned_configurations
from headsweep.report.looks import SweepLooks
from headsweep.report.obstacle import predictions_obstacle
from headsweep.report.predictions import Row, Score, val_row
from headsweep.report.resampling import event_means, values_of
from headsweep.stats.factorial import Contrast, contrasts
from headsweep.stats.margins import Comparison
from headsweep.stats.metrics import MARGINS, METRICS
from headsweep.stats.power import Needed, SampleSize
from headsweep.stats.tracks import Array
from headsweep.stats.verdict import seeds_to_decide
from headsweep.stats.welch import Moments, on_scale
from headsweep.store import labels, paths, runs
from headsweep.store.labels import StoredJob


@dataclass(frozen=True)
class PlannedComparison:
    """The seeds and the time that one comparison would take.

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
class SeedPlan:
    """The seeds and the time that every comparison of a sweep would take.

    Attributes:
        metric: The metric that is to be compared.
        margin: eps on its scale.
        comparing: Every comparison of the design.
        seconds: Training of one seed of every configuration, on one worker.
        split: Where the pilot is read.
        verdict_split: Where the verdict will be read.
        looked: Whether verdicts on the pilot were read: more of its seeds are one more look.
        withheld: A line for each comparison that gets no verdict as it is, however many the seeds.
    """

    metric: str
    margin: float
    comparing: list[PlannedComparison]
    seconds: float
    split: str
    verdict_split: str
    looked: bool
    withheld: list[str]

    @property
    def unit(self) -> str:
        """The counted unit: ``seeds per arm`` or ``seeds per cell``."""
        return self.comparing[0].needed.unit

    def words(self) -> str:
        """Metric, margin, power and family in words."""
        relative = MARGINS[self.metric].scale == "log"
        margin = f"{math.expm1(self.margin):.1%}" if relative else f"{self.margin:.3g}"
        sizes = list(dict.fromkeys(one.comparisons for one in self.comparing))
        family = f"{sizes[0]} comparisons at 5% together"
        if len(sizes) > 1:
            family = f"families of {' and '.join(map(str, sizes))} comparisons, each at 5%"
        elif sizes == [1]:
            family = "one comparison at 5%"
        read = f"read on {self.split}"
        if self.split != self.verdict_split:
            read += f", as planning leaves {self.verdict_split} closed; its numbers may differ"
        if self.looked:
            read += "; verdicts on these seeds were reported, so the numbers are for one more look"
        return f"{self.metric}, margin {margin}, power 80%, {family}; {read}"

    def note(self) -> str:
        """How to read the table."""
        return (
            f"numbers are {self.unit}; in brackets their range, from an 80% interval of the spread"
        )

    def totals(self, workers: int) -> list[str]:
        """Time of the whole sweep with enough seeds for every comparison.

        Args:
            workers: How many train side by side.
        """
        from headsweep.terminal import duration

        lines = []
        for what in ("difference", "equivalence"):
            sizes: list[SampleSize] = [getattr(one.needed, what) for one in self.comparing]
            most = reduce(SampleSize.most, sizes)
            if most.n is not None:
                time = duration(most.n * self.seconds / workers)
                lines.append(f"{what} in every comparison: {most.text(self.unit)}, {time} in all")
        return lines

    def limits(self) -> list[str]:
        """A line for each comparison that no number of seeds would decide."""
        return [
            f"{one.arm} against {one.control}: {one.needed.limit}"
            for one in self.comparing
            if one.needed.limit
        ]


def plan_seeds(
    folder: Path,
    metric: str | None = None,
    margin: float | None = None,
    score: Score = scoring.score,
) -> SeedPlan:
    """Plan the comparisons of a sweep from the members that it has.

    Args:
        folder: The sweep's folder.
        metric: One with a margin that is a function of tracks; None for the design's first.
        margin: eps, relative where the metric is compared as a ratio; None for the default.
        score: What scores saved weights on dev.

    Raises:
        UserError: There is no such sweep, or its members do not give a spread.
    """
    jobs, spec = _grid_jobs(folder), runs.read_spec(folder)
    if "looks" in spec:
        raise UserError(
            f"{folder} has seeds=auto, which trains as many as it takes; the same command goes on"
        )
    design = DesignConfig(**spec.get("design", {}))
    metric = metric or design.metrics[0]
    comparison = _terms(metric, margin)
    groups = labels.group_rows(jobs)
    split = "val" if design.split == "test" else design.split
    rows = [_read(label, own, split, score) for label, own in groups.items()]
    twice = coinciding(rows)
    rows = [row for row in rows if row.label not in twice]
    groups = {row.label: groups[row.label] for row in rows}
    if twice and design.kind == "factorial":
        raise UserError(f"{folder}: {NEEDS_ALL}: {', '.join(twice)}")
    family = list(_family(groups, design, planned_configurations(spec) - len(twice)))
    if not family:
        raise UserError(f"{folder} has one configuration: nothing to compare")
    pilots = _pilots(rows, [_seed_seconds(own) for own in groups.values()], metric)
    looks = SweepLooks.open(folder, groups, design)
    terms = []
    for contrast, m in family:
        compared = [label for label, w in zip(groups, contrast.weights, strict=True) if w]
        terms.append(replace(comparison, comparisons=m, looks=looks.earlier(compared)))
    comparing = [
        _plan_contrast(contrast, own, pilots)
        for (contrast, _), own in zip(family, terms, strict=True)
    ]
    seconds = sum(pilot.seconds for pilot in pilots)
    looked = any(own.looks for own in terms)
    withheld = [*_withheld(metric, rows, groups, [contrast for contrast, _ in family], folder)]
    return SeedPlan(
        metric, comparison.margin, comparing, seconds, split, design.split, looked, withheld
    )


def _withheld(
    metric: str,
    rows: Sequence[Row],
    groups: Mapping[str, Sequence[StoredJob]],
    family: Sequence[Contrast],
    folder: Path,
) -> Iterator[str]:
    """Comparisons for which a report would withhold its verdict, with the reason."""
    fairness = check_fairness(groups, paths.root_of(groups[rows[0].label][0].folder))
    objections = {found.label: found.objection for found in fairness if found.objection}
    for contrast in family:
        used = [row for row, weight in zip(rows, contrast.weights, strict=True) if weight]
        for row in used[1:]:
            if reason := predictions_obstacle(metric, row, used[0], objections):
                yield f"{contrast.name} against {contrast.against}: no verdict; {reason}"
                break


def _grid_jobs(folder: Path) -> list[StoredJob]:
    """The jobs of a sweep that can be planned from."""
    jobs = labels.read_jobs(folder) if folder.is_dir() else []
    if not jobs:
        known = paths.command("list", folder.parents[1])
        raise UserError(f"{folder}: no jobs to plan from; {known} shows what there is")
    if "search" in runs.read_spec(folder):
        raise UserError(f"{folder} is a search; plan from a grid, whose comparisons are fixed")
    if any(job.folds for job in jobs):
        raise UserError(f"{folder} is cross-validated: its precision comes from split seeds")
    return jobs


def _terms(metric: str, margin: float | None) -> Comparison:
    """The terms of comparison of a metric, with another margin where one is given."""
    if metric not in MARGINS or metric not in METRICS:
        known = ", ".join(name for name in MARGINS if name in METRICS)
        raise UserError(f"--metric {metric}: cannot be planned; one of {known}")
    default = MARGINS[metric]
    if margin is None:
        return default
    return replace(default, margin=math.log1p(margin) if default.scale == "log" else margin)


def _family(
    groups: Mapping[str, Sequence[StoredJob]], design: DesignConfig, planned: int
) -> Iterator[tuple[Contrast, int]]:
    """Every comparison as weights of the configurations, with m of its family."""
    names = [*groups]
    if design.kind == "factorial":
        found = contrasts([own[0].choices for own in groups.values()])
        orders = Counter(contrast.order for contrast in found)
        for contrast in found:
            yield contrast, family_size(design, len(names), orders[contrast.order])
        return
    m = family_size(design, max(len(names), planned))
    for arm, control in pairs(names, design.kind):
        weights = np.zeros(len(names))
        weights[names.index(arm)], weights[names.index(control)] = 1, -1
        yield Contrast(arm, control, weights, 1), m


@dataclass(frozen=True)
class _Pilot:
    """The pilot's seeds of one configuration.

    Attributes:
        moments: Of the metric on its scale.
        events: Mean over the seeds on resampled events, [R]; None where there is none.
        n_events: Events of the sample.
        seconds: Training of one seed.
    """

    moments: Moments
    events: Array | None
    n_events: int
    seconds: float


def _read(label: str, jobs: Sequence[StoredJob], split: str, score: Score) -> Row:
    """The finished members on a split: on val as training stored them, else scored."""
    row = val_row(label, jobs)
    if split == "val":
        return row
    with scoring.one_thread():
        tracks = [
            score(job.folder, seed, split, paths.root_of(job.folder))[0]
            for job in jobs
            for seed in runs.finished_seconds(job.folder)
        ]
    samples = [replace(old, tracks=new) for old, new in zip(row.samples, tracks, strict=True)]
    return replace(row, samples=samples)


def _pilots(rows: Sequence[Row], seconds: Sequence[float], metric: str) -> list[_Pilot]:
    """The pilot of each configuration.

    Args:
        rows: Their members.
        seconds: Training of one seed of each.
        metric: What is to be compared.
    """
    moments = [_moments(row, metric) for row in rows]
    means = event_means(rows, metric, np.random.default_rng(0))
    return [
        _Pilot(own, means.get(row.label), len(np.unique(row.samples[0].tracks.event)), time)
        for row, own, time in zip(rows, moments, seconds, strict=True)
    ]


def _moments(row: Row, metric: str) -> Moments:
    if len(row.samples) < 2:
        raise UserError(f"{row.label}: {len(row.samples)} finished seeds have no spread; train two")
    return Moments.of(on_scale(values_of(row.samples, metric), MARGINS[metric].scale, row.label))


def _seed_seconds(jobs: Sequence[StoredJob]) -> float:
    """Training of one seed, of all jobs of a configuration."""
    finished = [times for job in jobs if (times := runs.finished_seconds(job.folder))]
    return sum(max(times.values()) / len(times) for times in finished)


def _plan_contrast(
    contrast: Contrast, comparison: Comparison, pilots: Sequence[_Pilot]
) -> PlannedComparison:
    """Plan one comparison.

    Args:
        contrast: Weights of the configurations.
        comparison: The terms.
        pilots: Of each configuration.
    """
    used = [(float(w), pilot) for w, pilot in zip(contrast.weights, pilots, strict=True) if w]
    used.sort(key=lambda part: -part[0])  # the arm comes first
    moments = [pilot.moments for _, pilot in used]
    variance = _events_variance([(w, pilot.events) for w, pilot in used])
    weights, n_events = [w for w, _ in used], used[0][1].n_events
    needed = seeds_to_decide(moments, weights, comparison, events=variance, n_events=n_events)
    return PlannedComparison(
        contrast.name,
        contrast.against,
        tuple(math.sqrt(part.variance) for part in moments),
        math.sqrt(variance),
        comparison.comparisons,
        needed,
        sum(pilot.seconds for _, pilot in used),
    )


def _events_variance(parts: Sequence[tuple[float, Array | None]]) -> float:
    """Of a weighted sum over resampled events; 0 where one has none."""
    known = [w * means for w, means in parts if means is not None]
    return float(Moments.of(np.asarray(sum(known))).variance) if len(known) == len(parts) else 0.0


def plan_table(found: SeedPlan, workers: int) -> tuple[list[str], list[list[str]]]:
    """Column heads and cells of a plan as a table.

    Args:
        found: The plan.
        workers: How many train side by side.
    """
    from headsweep.terminal import duration

    factor, unit = (100, " [%]") if MARGINS[found.metric].scale == "log" else (1, "")
    columns = ["", "against", f"spread{unit}", f"from events{unit}"]
    columns += ["seeds for a difference", "time", "seeds for equivalence", "time"]

    def cells(size: SampleSize, one: PlannedComparison) -> list[str]:
        if size.n is None:
            return ["no number" if one.needed.limit else size.text(), "–"]
        return [size.text(), duration(size.n * one.seconds / workers)]

    rows = [
        [
            one.arm,
            one.control,
            _range([factor * value for value in one.spread]),
            f"{factor * one.events:.2g}",
            *cells(one.needed.difference, one),
            *cells(one.needed.equivalence, one),
        ]
        for one in found.comparing
    ]
    return columns, rows


def _range(values: Sequence[float]) -> str:
    """Two values, or the range of more of them."""
    if len(values) == 2:
        return " / ".join(f"{value:.2g}" for value in values)
    return f"{min(values):.2g} to {max(values):.2g}"
