"""Metrics of the members of configurations, as they are compared, also on resampled events."""

from collections.abc import Callable, Sequence

import numpy as np

from headsweep.report.predictions import Row, Sample
from headsweep.stats.bootstrap import EVENT_RESAMPLES, Rows, joint_resamples
from headsweep.stats.metrics import MARGINS, METRICS
from headsweep.stats.tracks import Array, Tracks

OnRows = Callable[[Rows], Array]
"""From drawn rows of tracks to one value for each member."""


def values_of(samples: Sequence[Sample], name: str) -> Array:
    """The metric of each member, as it is compared: one that is best at 0 by its distance."""
    if name not in METRICS:
        return np.array([sample.scalars[name] for sample in samples])
    metric = METRICS[name]
    values = np.array([metric.function(sample.tracks) for sample in samples])
    return np.abs(values) if metric.better == "zero" else values


def event_means(rows: Sequence[Row], name: str, rng: np.random.Generator) -> dict[str, Array]:
    """Mean over the seeds on resampled events, [R] by label; see ``event_values``."""
    return {label: found.mean(axis=1) for label, found in event_values(rows, name, rng).items()}


def event_values(
    rows: Sequence[Row], name: str, rng: np.random.Generator, resamples: int = EVENT_RESAMPLES
) -> dict[str, Array]:
    """Each member on resampled events, [R, members] by label, as it is compared; ``resampled``.

    Nothing for a metric that is no function of tracks alone.
    """
    if name not in METRICS:
        return {}
    metric = METRICS[name]

    def statistic(samples: Sequence[Tracks]) -> OnRows:
        if metric.residual is None or metric.reduce is None:
            return lambda drawn: np.array([metric.function(t.take(drawn)) for t in samples])
        residuals, reduce = np.stack([metric.residual(tracks) for tracks in samples]), metric.reduce
        return lambda drawn: np.asarray(reduce(residuals[:, drawn]))

    tables = resampled(rows, statistic, rng, resamples)
    if metric.better == "zero":
        tables = {label: np.abs(table) for label, table in tables.items()}
    logs = MARGINS[name].scale == "log"
    return {label: np.log(table) if logs else table for label, table in tables.items()}


def resampled(
    rows: Sequence[Row],
    statistic: Callable[[Sequence[Tracks]], OnRows],
    rng: np.random.Generator,
    resamples: int = EVENT_RESAMPLES,
) -> dict[str, Array]:
    """A statistic of every member on resampled events, [R, members] by label.

    Configurations on the same events see the same resamples, also where their tracks differ, as
    those of two selections do.

    Args:
        rows: Configurations; without members, and cross-validated ones, are left out.
        statistic: From the tracks of members that share them to a function of drawn rows that gives
            one value for each member.
        rng: Drives the bootstrap.
        resamples: R.
    """
    found: dict[str, Array] = {}
    for group in _grouped([r for r in rows if r.samples and r.folds is None], Row.shares_events):
        sets = _grouped(group, Row.shares_tracks)
        values = [statistic([s.tracks for row in own for s in row.samples]) for own in sets]
        events = [own[0].samples[0].tracks.event for own in sets]
        drawn = [
            [one(rows) for one, rows in zip(values, parts, strict=True)]
            for parts in joint_resamples(events, resamples, rng)
        ]
        for own, table in zip(sets, zip(*drawn, strict=True), strict=True):
            ends = np.cumsum([len(row.samples) for row in own])
            split = np.split(np.array(table, dtype=np.float64), ends[:-1], axis=1)
            found |= {row.label: part for row, part in zip(own, split, strict=True)}
    return found


def _grouped(rows: Sequence[Row], same: Callable[[Row, Row], bool]) -> list[list[Row]]:
    """The rows in groups whose members are the same as the group's first."""
    groups: list[list[Row]] = []
    for row in rows:
        group = next((known for known in groups if same(row, known[0])), None)
        if group is None:
            groups.append([row])
        else:
            group.append(row)
    return groups
