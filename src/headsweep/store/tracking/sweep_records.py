"""Content of the MLflow run of a sweep, from the states of its jobs."""

import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headsweep.store.outcome import Outcome, best_trials, pooled
from headsweep.store.tracking.records import (
    MAIN,
    JobState,
    LoggedMetric,
    RunRecord,
    mean_and_deviation,
)


def sweep_record(folder: Path, jobs: Sequence[JobState], searched: Sequence[str]) -> RunRecord:
    """Record of a sweep that has jobs: counts, and its lowest figure. All of it may change."""
    members = Counter(status for job in jobs for status in job.statuses)
    tags: dict[str, Any] = {
        "level": "sweep",
        "data": " ".join(sorted({job.data for job in jobs if job.data})),
        "jobs": len(jobs),
        "members_finished": members["finished"],
        "members_failed": members["failed"],
    }
    if searched:
        del tags["jobs"]
        states = Counter(job.outcome.state for job in jobs if job.outcome)
        counts = {f"trials_{state}": states[state] for state in ("complete", "pruned", "failed")}
        tags |= {**counts, "members_pruned": members["pruned"], "objective": " ".join(searched)}
    best, metrics = _best(jobs, searched) if searched else _lowest(jobs)
    tags |= best
    start, end = min(job.start for job in jobs), max(job.end for job in jobs)
    return RunRecord(folder, folder.name, "FINISHED", start, end, tags, metrics=metrics)


def _lowest(jobs: Sequence[JobState]) -> tuple[dict[str, Any], list[LoggedMetric]]:
    """The configuration of a grid with the lowest ``MAIN``: its name, mean and deviation.

    A fold of a cross-validation counts once, with the mean over its seeds.
    """
    values: dict[str, Sequence[float]] = {}
    names: dict[str, str] = {}
    for job in jobs:
        if job.values:
            key = job.row if job.fold else job.name
            own = [*values.get(key, ()), statistics.fmean(job.values)] if job.fold else job.values
            names[key], values[key] = job.row, own
    if not values:
        return {}, []
    best = min(values, key=lambda row: statistics.fmean(values[row]))
    return {"best": names[best]}, mean_and_deviation(MAIN, values[best])


def _best(
    jobs: Sequence[JobState], searched: Sequence[str]
) -> tuple[dict[str, Any], list[LoggedMetric]]:
    """The best trial with its interval over the seeds; of several objectives the Pareto front."""
    from headsweep.stats.metrics import METRICS

    metrics = [METRICS.get(name.removeprefix("val_")) for name in searched]
    outcomes = pooled({int(job.name): job.outcome for job in jobs if job.outcome is not None})
    best = best_trials(
        outcomes, ["maximize" if m and m.better == "higher" else "minimize" for m in metrics]
    )
    if not best:
        return {}, []
    if len(searched) > 1:
        return {"pareto_front": " ".join(map(str, sorted(best)))}, []
    values = [own[0] for own in outcomes[best[0]].seeds.values()]
    tags = {"best": f"trial {best[0]}", "best_trial": best[0], **_interval(outcomes[best[0]])}
    return tags, mean_and_deviation(searched[0], values)


def _interval(outcome: Outcome) -> dict[str, Any]:
    import numpy as np

    from headsweep.stats.intervals import t_interval

    found = t_interval(np.array([values[0] for values in outcome.seeds.values()]))
    tags = {
        "best_params": " ".join(f"{key}={value}" for key, value in outcome.params.items()),
        "best_mean": f"{found.mean:.6g}",
        "best_n": found.n,
    }
    if found.n > 1:
        low, high = found.mean - found.half, found.mean + found.half
        tags |= {"best_low": f"{low:.6g}", "best_high": f"{high:.6g}"}
    return tags
