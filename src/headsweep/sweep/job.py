"""Training of one job: its missing seeds, written into its run folder.

Torch, pandas and MLflow are imported where they are used, so that workers start quickly.
"""

import logging
import math
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headsweep.identity import member_key, recipe_key
from headsweep.instantiate import code_digests
from headsweep.store import paths, runs
from headsweep.store.code_version import code_version
from headsweep.store.members import MemberIndex, copy_member, training_of, usable_members
from headsweep.store.repair import missing_seeds, remove_damage
from headsweep.sweep.inputs import Inputs, build_features

if TYPE_CHECKING:
    from headsweep.features.cache import FeatureSet
    from headsweep.sweep.compose import Job
    from headsweep.training.loop import MemberResult

OBJECTIVE = "val_qoverpt_r68"
"""Objective that Hydra's own sweepers are told."""

PROGRESS_SECONDS = 0.5
"""Least time between two writes of ``progress.json``."""

log = logging.getLogger(__name__)


def _ignore_step() -> None:
    """Let the training go on."""


@dataclass(frozen=True)
class Hooks:
    """Calls out of a training, by which a worker watches it and may end it.

    Attributes:
        on_step: Called after every step; an error that it raises breaks the training off.
        on_evaluation: Called with the step and the metrics of every member; a returned reason ends
            the training. None for a training that nobody prunes.
        also: Metrics taken at every evaluation, beside r68 of q/pT.
    """

    on_step: Callable[[], None] = _ignore_step
    on_evaluation: Callable[[int, list[dict[str, float]]], str | None] | None = None
    also: Sequence[str] = ()


NO_HOOKS = Hooks()


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
        train_into(job, inputs, folder, seeds, found=found)
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


def train_into(
    job: "Job",
    inputs: Inputs,
    folder: Path,
    seeds: Sequence[int],
    hooks: Hooks = NO_HOOKS,
    found: Sequence[str] = (),
) -> None:
    """Train some seeds of a job together and write its folder.

    Args:
        job: The validated job.
        inputs: Its source and backbone.
        folder: Where to write; other seeds of the same job may be there already.
        seeds: Those to train.
        hooks: Called during the training.
        found: Seed folders of members elsewhere, which are copied instead.

    Raises:
        UserError: The data or the head cannot be used.
    """
    features = build_features(job, inputs)
    known = {*job.seeds, *runs.read_results(folder)}
    config = job.resolved | {"seed": min(known), "seeds": len(known)}
    usable = usable_members(map(Path, found), inputs.job_key, seeds)
    rest = [seed for seed in seeds if seed not in usable]
    about = _about(job, config, inputs, features.meta.key)
    runs.write_code(folder, inputs.code)
    runs.write_job(folder, config, about if rest else about | training_of(usable.values()))
    for seed, source in usable.items():
        copy_member(source, paths.seed_folder(folder, seed))
    for result, parameters in _train(job, features, rest, folder, hooks) if rest else ():
        _write_member(folder, inputs.job_key, result, parameters)


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


def _train(
    job: "Job", features: "FeatureSet", seeds: Sequence[int], folder: Path, hooks: Hooks
) -> list[tuple["MemberResult", dict[str, int]]]:
    """Train the seeds together; each result with its parameter counts."""
    import torch

    from headsweep.training.builder import member_builder, population_builder
    from headsweep.training.loop import Split, fit
    from headsweep.training.loss import Loss
    from headsweep.training.size import parameter_counts
    from headsweep.training.targets import check_estimate, estimate_dim

    config = job.config
    torch.set_num_threads(config.threads)
    frozen = features.load("train")
    check_estimate(job.resolved, frozen.analytic)
    loss = Loss.fit(job.resolved, frozen.truth, frozen.axis)
    train = Split.of(frozen, loss.target, config.device)
    val = Split.of(features.load("val"), loss.target, config.device)
    size = (frozen.raw.shape[1], features.meta.dim, loss.outputs)
    build = population_builder(job.resolved, *size, config.device)
    member = member_builder(job.resolved, *size)()
    estimate = estimate_dim(job.resolved)
    counts = parameter_counts(member, config.pooling, features.meta.dim, estimate)
    progress = _Progress(folder, config.optim.steps, list(seeds))

    def on_step(step: int, r68: float | None) -> None:
        progress(step, r68)
        hooks.on_step()

    results = fit(
        build, seeds, train, val, loss, config.optim, on_step, hooks.on_evaluation, hooks.also
    )
    return [(result, counts) for result in results]


class _Progress:
    """Writes ``progress.json`` every ``PROGRESS_SECONDS``, for the progress bar."""

    def __init__(self, folder: Path, steps: int, seeds: list[int]) -> None:
        self.folder, self.steps, self.seeds = folder, steps, seeds
        self.started = time.time()
        self.written = -math.inf
        self(0, None)

    def __call__(self, step: int, r68: float | None) -> None:
        now = time.time()
        if now - self.written >= PROGRESS_SECONDS or step == self.steps:
            self.written = now
            times = {"started": self.started, "updated": now}
            steps = {"phase": "training", "step": step, "steps": self.steps}
            runs.write_progress(self.folder, steps | {"seeds": self.seeds, "val": r68} | times)


def _write_member(
    folder: Path, job_key: str, result: "MemberResult", parameters: dict[str, int]
) -> None:
    import pandas as pd

    kept = ("seed", "status", "reason", "steps", "best_step", "seconds", "metrics")
    predictions = result.predictions
    runs.write_member(
        paths.seed_folder(folder, result.seed),
        {
            "member_key": member_key(job_key, result.seed),
            **{name: getattr(result, name) for name in kept},
            "ended": time.time(),
            "parameters": parameters,
        },
        history=result.history,
        weights=result.weights or None,
        last_weights=result.last_weights or None,
        predictions=None if predictions is None else pd.DataFrame(predictions.columns()),
    )


def _about(job: "Job", config: Mapping[str, Any], inputs: Inputs, cache_key: str) -> dict[str, Any]:
    """Content of ``job.json``."""
    import numpy
    import torch

    return {
        "job_key": inputs.job_key,
        "recipe_key": recipe_key(config, cache_key),
        "seeds": [config["seed"], config["seeds"]],
        "labels": job.labels,
        "overrides": job.overrides,
        "data_key": inputs.data_key,
        "checkpoint": inputs.checkpoint,
        "cache_key": cache_key,
        "code_version": code_version(),
        "own_code": code_digests(inputs.code),
        "environment": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "device": job.config.device,
            "threads": job.config.threads,
        },
    }


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
