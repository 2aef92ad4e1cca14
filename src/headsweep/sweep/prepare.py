"""Preparation of a sweep or a single run: inputs, feature caches and databases."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryFile
from typing import Any

from headsweep.backbone.base import Progress
from headsweep.errors import UserError
from headsweep.events.selection import words
from headsweep.features.cache import FeatureSet
from headsweep.identity import NUMERICS
from headsweep.instantiate import code_digests
from headsweep.store.tracking.database import TrackingError, tracking_uri
from headsweep.sweep.inputs import (
    Inputs,
    build_features,
    check_device,
    check_fresh,
    check_test,
    feature_folder,
    find_inputs,
)
from headsweep.sweep.plan import Plan

log = logging.getLogger(__name__)


def find_all_inputs(plan: Plan) -> list[Inputs]:
    """The inputs of each job, which a confirmation may use.

    Raises:
        UserError: The data or the seeds cannot be used.
    """
    config = plan.jobs[0].config
    inputs = [find_inputs(job) for job in plan.jobs]
    keys = [found.job_key for found in inputs]
    if plan.finalists is not None:
        plan.finalists.check_data(keys)
    if config.design.split == "test":
        check_test(plan.jobs, inputs)
        if config.design.kind != "claims" and plan.folder is not None:
            check_fresh(plan.folder, Path(config.root), keys, plan.jobs[0].all_seeds)
    return inputs


def prepare(plan: Plan, report: Progress) -> list[Inputs]:
    """Make everything that jobs share, before any of them starts.

    Args:
        plan: The validated jobs.
        report: Told what is done and its share.

    Returns:
        The inputs of each job.

    Raises:
        UserError: The data, the device or the folder cannot be used.
    """
    logging.disable(logging.INFO)  # messages of Hydra and Optuna would break the display
    report("looking at the source and the backbone", 0.0)
    config = plan.jobs[0].config
    root = Path(config.root)
    if config.tracking and config.tracking_uri is None:
        tracking_uri(root)  # refuses a root that MLflow cannot name, before anything is written
    _claim_root(root)
    if plan.search is not None and plan.search.storage is not None:
        from headsweep.sweep.search.storage import open_database

        open_database(plan.search.storage, root)  # a wrong one is found now
    for device in {job.config.device for job in plan.jobs}:
        check_device(device)
    inputs = find_all_inputs(plan)
    _build_caches(plan, inputs, report)
    if config.tracking and config.tracking_uri is None:
        from headsweep.store.tracking import mlflow_client
        from headsweep.store.tracking.sync import mending

        report("opening MLflow", 1.0)
        try:
            with mending(root):
                mlflow_client.init(root)
        except TrackingError as error:  # such as a command that holds it and is suspended
            log.warning("%s", error)
    return inputs


def inputs_spec(inputs: Sequence[Inputs]) -> dict[str, Any]:
    """Keys of the inputs of all jobs, for a sweep's ``spec.yaml``."""
    code = {name: text for found in inputs for name, text in found.code.items()}
    return {
        "data": sorted({found.data_key for found in inputs}),
        "checkpoints": sorted({found.checkpoint for found in inputs}),
        "numerics": NUMERICS,
        **({"code": code_digests(code)} if code else {}),
    }


def selection_lines(plan: Plan, inputs: Sequence[Inputs]) -> list[str]:
    """A line for each selection of true tracks, with what it keeps of the training split.

    Args:
        plan: The jobs, whose caches are there.
        inputs: Of each.
    """
    jobs = zip(plan.jobs, inputs, strict=True)
    kept: dict[str, list[float]] = {}
    for folder in dict.fromkeys(feature_folder(job, found) for job, found in jobs):
        meta = FeatureSet(folder).meta
        kept.setdefault(words(meta.selection), []).append(meta.selected["train"])
    return [
        f"data.selection: {cuts}: {fmean(shares):.1%} of the true training tracks are kept"
        for cuts, shares in kept.items()
        if cuts
    ]


def _build_caches(plan: Plan, inputs: Sequence[Inputs], report: Progress) -> None:
    """Build each feature cache once, whatever number of jobs uses it."""
    jobs = zip(plan.jobs, inputs, strict=True)
    caches = {feature_folder(job, found): (job, found) for job, found in jobs}
    for number, (job, found) in enumerate(caches.values(), start=1):
        place = f"cache {number} of {len(caches)}" if len(caches) > 1 else "cache"
        build_features(job, found, partial(_report_at, report, place))


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
