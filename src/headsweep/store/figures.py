"""Main figures on val, as trainings stored them: quick to read, with no events and no weights."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headsweep.stats.intervals import Estimate, nadeau_bengio, t_interval
from headsweep.stats.metrics import METRICS, shown
from headsweep.store.labels import StoredJob, group_rows, read_jobs
from headsweep.store.runs import read_results

OTHER_COLUMNS, METRIC_COLUMNS = 45, 19
"""Columns of the screen that the words of a table take, and each metric."""


@dataclass(frozen=True)
class Figures:
    """The main figures of one configuration on val.

    Attributes:
        label: Its name, as a report has it.
        jobs: Names of the folders of its jobs.
        parameters: Trained parameters; None where no member has them.
        finished: Members in the figures.
        failed: Members that failed.
        planned: Members that it has or will have.
        values: Mean and interval of each metric of the table ``main``.
    """

    label: str
    jobs: Sequence[str]
    parameters: int | None
    finished: int
    failed: int
    planned: int
    values: Mapping[str, Estimate]


def read_figures(folder: Path) -> list[Figures]:
    """The configurations of a grid, or that of a single run, in the order of a report.

    Raises:
        UserError: A file of a job is missing or damaged.
    """
    groups = group_rows(read_jobs(folder))
    return [_figures(label, jobs) for label, jobs in groups.items()]


def figures_table(figures: Sequence[Figures], width: int) -> tuple[list[str], list[list[str]]]:
    """Heads and cells of a table of figures: the first metrics, as many as the screen takes.

    Args:
        figures: Of the configurations.
        width: Of the screen, in columns.
    """
    names = shown("main")[: max(1, (width - OTHER_COLUMNS) // METRIC_COLUMNS)]
    rows = [
        [
            own.label,
            f"{own.finished}" + (f" of {own.planned}" if own.finished < own.planned else ""),
            str(own.failed),
            "–" if own.parameters is None else f"{own.parameters:,}",
            *(own.values[name].text(METRICS[name].factor) for name in names),
        ]
        for own in figures
    ]
    heads = ["on val", "n", "failed", "parameters", *(METRICS[name].head() for name in names)]
    return heads, rows


def _figures(label: str, jobs: Sequence[StoredJob]) -> Figures:
    results = [(job, result) for job in jobs for result in read_results(job.folder).values()]
    finished = [(job, result) for job, result in results if result["status"] == "finished"]
    counts = [result["parameters"]["total"] for _, result in finished]
    return Figures(
        label=label,
        jobs=[job.folder.name for job in jobs],
        parameters=counts[0] if counts else None,
        finished=len(finished),
        failed=sum(len(job.failed) for job in jobs),
        planned=sum(len(job.seeds) for job in jobs),
        values={name: _estimate(name, jobs[0].folds, finished) for name in shown("main")},
    )


def _estimate(
    name: str, folds: int | None, finished: Sequence[tuple[StoredJob, Mapping[str, Any]]]
) -> Estimate:
    """Mean and interval over the seeds, or over the folds with their seeds averaged."""
    stored = [(job.block, result["metrics"].get(f"val_{name}")) for job, result in finished]
    values = np.array([math.nan if value is None else value for _, value in stored])
    if folds is None or not len(values):
        return t_interval(values)
    _, block = np.unique([at for at, _ in stored], axis=0, return_inverse=True)
    blocks = np.bincount(block, weights=values) / np.bincount(block)
    return nadeau_bengio(blocks, float(blocks.mean()), folds)
