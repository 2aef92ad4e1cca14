"""Confirmation of a search: its optimism, and the shift from val to the scored split."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from headsweep.report.predictions import HeadRow, Row, val_row
from headsweep.report.resampling import event_means, values_of
from headsweep.stats.intervals import Estimate, t_interval
from headsweep.stats.margins import Scale
from headsweep.stats.metrics import MARGINS, METRICS, SCORED_LOSSES
from headsweep.stats.tracks import Array
from headsweep.stats.welch import Difference, Moments, combine, on_scale, welch
from headsweep.store import labels, runs
from headsweep.store.labels import StoredJob


@dataclass(frozen=True)
class Change:
    """A change of a metric with its 95% interval; in ln for one that is compared as a ratio.

    Attributes:
        delta: The change.
        low: Lower end; NaN where there is no interval.
        high: Upper end.
        scale: ``log`` or ``plain``.
    """

    delta: float
    low: float
    high: float
    scale: Scale

    @classmethod
    def of(cls, found: Difference, scale: Scale) -> "Change":
        """A difference of means, and its interval."""
        low, high = found.interval()
        return cls(float(found.delta), float(low), float(high), scale)

    def text(self, factor: float = 1.0) -> str:
        """In words: ``-1.2% [-3.0%, +0.7%]``; a plain one times a factor, such as 100."""
        relative = self.scale == "log"

        def word(value: float) -> str:
            return f"{math.expm1(value):+z.1%}" if relative else f"{factor * value:+z.3g}"

        interval = f" [{word(self.low)}, {word(self.high)}]"
        return word(self.delta) + ("" if math.isnan(self.low) else interval)


@dataclass(frozen=True)
class Confirmed:
    """One configuration.

    Attributes:
        label: Its name.
        search: Its value in the search, over the seeds there; None for a preset.
        val: Over the fresh seeds, on the same val split.
        scored: Of the same heads, on the scored split.
        optimism: From the fresh seeds to the search, on val; None for a preset.
        shift: From val to the scored split, of the same heads.
    """

    label: str
    search: Estimate | None
    val: Estimate
    scored: Estimate
    optimism: Change | None
    shift: Change


@dataclass(frozen=True)
class Confirmation:
    """The configurations of a confirmation, presets first.

    Attributes:
        study: Name of the search.
        metric: What it made best, without ``val_``.
        split: The scored split, ``test`` unless the design says ``dev``.
        events: Whether the intervals of the shifts hold for other events, too.
        rows: Those with finished members.
    """

    study: str
    metric: str
    split: str
    events: bool
    rows: list[Confirmed] = field(default_factory=list)


def label_jobs(jobs: Sequence[StoredJob], frozen: Mapping[str, Any]) -> dict[str, list[StoredJob]]:
    """Label and job of each row: a preset has its name, a trial its number in the search.

    Args:
        jobs: All jobs of the confirmation, by number.
        frozen: ``confirm`` of its specification.
    """
    trials = frozen["jobs"]
    presets = [labels.choices_only(job) for job in jobs if int(job.folder.name) not in trials]
    named = {_label(trials[n]): [job] for job in jobs if (n := int(job.folder.name)) in trials}
    return labels.group_rows(presets) | named


def _label(trial: Mapping[str, Any]) -> str:
    return f"trial {trial['trial']}"


def confirm(
    groups: Mapping[str, Sequence[StoredJob]],
    rows: Sequence[HeadRow],
    frozen: Mapping[str, Any],
    split: str,
    rng: np.random.Generator,
) -> Confirmation:
    """Compare search, fresh seeds on val, and the scored split.

    Args:
        groups: Label and job of each row.
        rows: The same, scored.
        frozen: ``confirm`` of the specification.
        split: The scored one.
        rng: Drives the bootstrap over events.
    """
    metric, name = frozen["metric"], frozen["metric"].removeprefix("val_")
    scale: Scale = MARGINS[name].scale if name in MARGINS else "plain"
    scored = [row for row in rows if row.samples]
    variance: dict[str, float] = {}
    if name in METRICS and name in MARGINS:
        on_val = [val_row(row.label, groups[row.label]) for row in scored]
        # Two samples of events: their scatters add.
        means = [event_means(part, name, rng) for part in (scored, on_val)]
        for label in means[0].keys() & means[1].keys():
            variance[label] = sum(float(np.var(part[label], ddof=1)) for part in means)
    searches = {_label(trial): trial["seeds"] for trial in frozen["jobs"].values()}
    found = []
    for row in scored:
        searched = searches.get(row.label)
        val, other = _fresh(groups[row.label], metric), _on_split(row, name, split)
        paired = on_scale(other, scale, row.label) - on_scale(val, scale, row.label)
        shift = combine([Moments.of(paired)], [1.0], variance.get(row.label, 0.0))
        optimism, search = None, None
        if searched is not None:
            values = np.array([*searched.values()])
            search = t_interval(values)
            both = [Moments.of(on_scale(v, scale, row.label)) for v in (values, val)]
            optimism = Change.of(welch(*both), scale)
        change = Change.of(shift, scale)
        found.append(
            Confirmed(row.label, search, t_interval(val), t_interval(other), optimism, change)
        )
    return Confirmation(frozen["study"], name, split, len(variance) == len(scored), found)


def _fresh(jobs: Sequence[StoredJob], metric: str) -> Array:
    """The metric on val of each finished member, [n], in the order of the row's samples."""
    results = [runs.read_results(job.folder) for job in jobs]
    finished = [r for found in results for r in found.values() if r["status"] == "finished"]
    return np.array([float(result["metrics"][metric]) for result in finished])


def _on_split(row: Row, name: str, split: str) -> Array:
    """The same on a scored split; the objective ``val_loss`` is compared with the loss there."""
    return values_of(row.samples, name if name in METRICS else SCORED_LOSSES[split])
