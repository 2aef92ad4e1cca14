"""One job and its run folder: what is missing is trained, what is elsewhere is copied.

MLflow is imported where it is used, so that workers start quickly.
"""

import logging
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headsweep.store import paths, runs
from headsweep.store.members import MemberIndex, copy_member
from headsweep.store.repair import missing_seeds, remove_damage
from headsweep.sweep.inputs import Inputs
from headsweep.sweep.stack import Part, train_together

if TYPE_CHECKING:
    from headsweep.sweep.compose import Job

OBJECTIVE = "val_qoverpt_r68"
"""Objective that Hydra's own sweepers are told."""

log = logging.getLogger(__name__)


def open_folder(job: "Job", inputs: Inputs, folder: Path) -> list[str]:
    """Remove what is damaged in a job's folder, look for its members elsewhere, and say both.

    Args:
        job: The validated job.
        inputs: Its source and backbone.
        folder: Its run folder.

    Returns:
        The seed folders elsewhere below the root, for ``run_job``.
    """
    for line in remove_damage(folder, inputs.job_key):
        print(line, file=sys.stderr)
    missing = missing_seeds(folder, inputs.job_key, job.seeds)
    found = MemberIndex(Path(job.config.root)).find(inputs.job_key, missing)
    if found:
        print(found_words(len(found), job.config.root))
    return found


def found_words(number: int, root: object) -> str:
    """Number of members that need not be trained, as a sentence."""
    members = "member was" if number == 1 else "members were"
    return f"{number} missing {members} trained before, elsewhere below {root}: copied"


def run_job(job: "Job", inputs: Inputs, folder: Path, found: Sequence[str] = ()) -> None:
    """Train the seeds of a job that are not there yet, and copy the job to MLflow.

    Args:
        job: The validated job.
        inputs: Its source and backbone.
        folder: Its run folder, without damage.
        found: Seed folders of members elsewhere, which are copied.

    Raises:
        UserError: The data or the head cannot be used.
    """
    seeds = missing_seeds(folder, inputs.job_key, job.seeds)
    if seeds:
        for _ in train_together([Part(job, inputs, folder, seeds, found=found)]):
            pass
    if job.config.tracking:
        track(job, folder)


def objective(job: "Job", folder: Path) -> float:
    """Mean of ``OBJECTIVE`` over the finished seeds of a job; NaN where none finished."""
    values = [
        result["metrics"][OBJECTIVE]
        for seed, result in runs.read_results(folder).items()
        if seed in job.seeds and result["status"] == "finished"
    ]
    numbers = [value for value in values if value is not None]
    return sum(numbers) / len(numbers) if numbers else math.nan


def copy_job(job: "Job", inputs: Inputs, source: Path, folder: Path) -> None:
    """Copy a trained job, under the overrides that make it here.

    Args:
        job: The validated job.
        inputs: Its source and backbone.
        source: Job folder of the same job elsewhere.
        folder: Where to write.

    Raises:
        DamagedError: A member there is damaged.
    """
    about = runs.read_job(source) or {}
    runs.write_code(folder, inputs.code)
    own = {"labels": job.labels, "overrides": job.overrides}
    runs.write_job(folder, job.resolved, about | own)
    for seed, member in paths.seed_folders(source).items():
        copy_member(member, paths.seed_folder(folder, seed))


def track(job: "Job", folder: Path) -> None:
    """Copy a job to MLflow; a failure there is a warning, as the run folders are complete."""
    from headsweep.store.tracking.database import TrackingError
    from headsweep.store.tracking.sync import mending, sync_job

    root = Path(job.config.root)
    try:
        with mending(root):
            sync_job(root, folder, uri=job.config.tracking_uri)
    except TrackingError as error:
        log.warning("%s", error)
