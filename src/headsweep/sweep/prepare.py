"""What training needs before it begins, the dry run, and the training of one configuration."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from headsweep.errors import UserError
from headsweep.identity import NUMERICS
from headsweep.sweep.plan import Plan

Progress = Callable[[str, float], None]


def prepare(plan: Plan, report: Progress) -> tuple[list[str], dict[str, Any]]:
    """Everything that jobs share, made before any of them starts.

    Args:
        plan: The validated jobs.
        report: Told what is done and its share.

    Returns:
        The key of each job, and what identifies their inputs.

    Raises:
        UserError: The data, the device or the folder cannot be used.
    """
    logging.disable(logging.INFO)  # messages of Hydra and Optuna would break the display
    report("starting", 0.0)
    from headsweep.features.extract import cache_key
    from headsweep.store.tracking import mlflow_client
    from headsweep.sweep import job as sweep_job

    config = plan.jobs[0].config
    _claim_root(Path(config.root))
    if plan.search is not None and plan.search.storage is not None:
        from headsweep.sweep.search.storage import open_database

        open_database(plan.search.storage, Path(config.root))  # a wrong one is found now
    for device in {job.config.device for job in plan.jobs}:
        sweep_job.check_device(device)
    inputs = [sweep_job.find_inputs(job) for job in plan.jobs]
    keys = [found.job_key for found in inputs]
    if plan.finalists is not None:
        assert plan.folder is not None
        seeds = range(config.seed, config.seed + config.seeds)
        plan.finalists.check_fresh(plan.folder, Path(config.root), keys, seeds)
    if config.design.split == "test":
        sweep_job.check_test(plan.jobs, inputs)
    caches = {}
    for job, found in zip(plan.jobs, inputs, strict=True):
        data, what = job.config.data, job.config.features
        key = cache_key(found.source, found.backbone, data.split, what, data.selection)
        caches[key] = (job, found)
    for number, (job, found) in enumerate(caches.values(), start=1):
        place = f"cache {number} of {len(caches)}" if len(caches) > 1 else "cache"
        sweep_job.build_features(job, found, partial(_report_at, report, place))
    if config.tracking and config.tracking_uri is None:
        report("MLflow", 1.0)
        mlflow_client.init(Path(config.root))
    return keys, {
        "data": sorted({found.data_key for found in inputs}),
        "checkpoints": sorted({found.checkpoint for found in inputs}),
        "numerics": NUMERICS,
    }


def _claim_root(root: Path) -> None:
    """Make the folder of all output, or say that it cannot be."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=root):
            pass
    except OSError as error:
        raise UserError(f"root={root}: cannot be written ({error})") from error


def _report_at(report: Progress, place: str, text: str, share: float) -> None:
    report(f"{place}: {text}", share)
