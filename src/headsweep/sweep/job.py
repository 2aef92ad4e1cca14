"""One job: frozen features in, a run folder out. The only entry of Hydra.

Torch and MLflow are imported inside the functions, so that ``--cfg job`` and ``--help`` are quick.
"""

import json
import logging
import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from headsweep.errors import UserError
from headsweep.identity import member_key, recipe_key, run_key

if TYPE_CHECKING:
    from headsweep.backbone.base import Backbone
    from headsweep.events.base import Source
    from headsweep.features.cache import FeatureSet
    from headsweep.sweep.plan import Job
    from headsweep.training.loop import MemberResult

OBJECTIVE = "val_qoverpt_r68"
"""What a search minimises: its mean over the finished seeds, at the kept weights."""

PROGRESS_SECONDS = 0.5
"""Least time between two writes of ``progress.json``."""

log = logging.getLogger(__name__)


class Watcher(Protocol):
    """What looks at a training from outside, and may end it."""

    also: Sequence[str]
    """Metrics that it wants at every evaluation, beside q/pT's resolution."""

    def step(self) -> None:
        """Called after every step; an error that it raises breaks the training off."""
        ...

    def evaluation(self, step: int, points: list[dict[str, float]]) -> str | None:
        """As ``loop.OnEvaluation``."""
        ...


@dataclass(frozen=True)
class Inputs:
    """What a job learns from, and the keys that identify it.

    Attributes:
        source: The events.
        backbone: What assigns their hits.
        data_key: Key of the source.
        checkpoint: Key of the backbone.
        job_key: Key of the job.
    """

    source: "Source"
    backbone: "Backbone"
    data_key: str
    checkpoint: str
    job_key: str


def find_inputs(job: "Job") -> Inputs:
    """Source, backbone and keys of a job; reads no events and writes nothing.

    Raises:
        UserError: A file that the configuration names is missing or is not what it should be, or
            the backbone was trained on events of another split of the same data.
    """
    source = find_source(job)
    backbone: Backbone = _make(json.dumps(job.resolved["backbone"]))
    data_key, checkpoint = source.key(), backbone.key()
    facts = getattr(backbone, "facts", {})  # a backbone of a user's own may know none
    if facts.get("data_key") == data_key and facts.get("split") != asdict(job.config.data.split):
        raise UserError(
            f"backbone: it was trained on events of these very data (key {data_key}) under another "
            "data.split, so some that it knows would be among those that judge it; use other "
            "events, or train one with `headsweep backbone` and this data.split"
        )
    return Inputs(
        source=source,
        backbone=backbone,
        data_key=data_key,
        checkpoint=checkpoint,
        job_key=run_key(job.resolved, data_key, checkpoint),
    )


def find_source(job: "Job") -> "Source":
    """The source of a job's events."""
    source: Source = _make(json.dumps(job.resolved["data"]["source"]))
    return source


@lru_cache(maxsize=8)
def _make(node: str) -> Any:
    """Build a node once for all jobs that share it."""
    from headsweep.instantiate import make

    return make(json.loads(node))


def check_device(name: str) -> None:
    """Refuse a device that torch cannot use here.

    Raises:
        UserError: The message says why.
    """
    if name == "cpu":
        return
    import torch

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"device={name}: {reason}; device=cpu works everywhere") from error


def check_test(jobs: "Sequence[Job]", inputs: Sequence[Inputs]) -> None:
    """Refuse data that will have no test split to be judged on.

    Raises:
        UserError: The message says what to do.
    """
    for job, found in zip(jobs, inputs, strict=True):
        split = job.config.data.split
        if found.source.test_sample() is None and (split.folds is not None or split.test == 0):
            raise UserError(
                "data.split.test: these data have no test split to confirm on; search and confirm "
                "with data.split.test=0.2, and without data.split.folds"
            )


def build_features(
    job: "Job", inputs: Inputs, progress: Callable[[str, float], None] | None = None
) -> "FeatureSet":
    """The frozen features of a job, from the cache or made now.

    Raises:
        DataError: The events cannot be used.
    """
    from headsweep.features.extract import build

    config = job.config
    return build(
        inputs.source,
        inputs.backbone,
        config.data.split,
        config.features,
        Path(config.root),
        progress,
        config.data.selection,
    )


def missing_seeds(job: "Job", folder: Path, job_key: str) -> list[int]:
    """Seeds of a job that have no result of this very job in its folder."""
    from headsweep.store import runs

    results = runs.read_results(folder)
    keys = {seed: result.get("member_key") for seed, result in results.items()}
    return [s for s in _seeds(job) if keys.get(s) != member_key(job_key, s)]


def _seeds(job: "Job") -> range:
    return range(job.config.seed, job.config.seed + job.config.seeds)


def train_into(
    job: "Job", inputs: Inputs, folder: Path, seeds: Sequence[int], watch: "Watcher | None" = None
) -> None:
    """Train some seeds of a job and write its folder.

    Args:
        job: The validated job.
        inputs: What it learns from.
        folder: Where to write; seeds of the same job may be there already.
        seeds: Those to be trained, together.
        watch: Told of every step and evaluation; may end the training.

    Raises:
        UserError: The data or the head cannot be used.
    """
    from headsweep.store import runs

    features = build_features(job, inputs)
    known = {*_seeds(job), *runs.read_results(folder)}
    config = job.resolved | {"seed": min(known), "seeds": len(known)}
    runs.write_job(folder, config, _about(job, config, inputs, features.meta.key))
    for result, parameters in _train(job, features, seeds, folder, watch):
        _write_member(folder, inputs.job_key, result, parameters)


def run_job(job: "Job", folder: Path | None = None) -> float:
    """Train the seeds of a job that are not there yet, and write its run folder.

    Args:
        job: The validated job.
        folder: Its folder; None for ``root/runs/<job_key>``.

    Returns:
        Mean of ``OBJECTIVE`` over the finished seeds; NaN where none finished.

    Raises:
        UserError: The data or the device cannot be used.
    """
    from headsweep.store import runs

    inputs = find_inputs(job)
    if folder is None:
        folder = single_folder(job, inputs)
    seeds = missing_seeds(job, folder, inputs.job_key)
    if seeds:
        forget_others(folder, inputs.job_key)
        train_into(job, inputs, folder, seeds)
    if job.config.tracking:
        track(job, folder)
    values = [
        result["metrics"][OBJECTIVE]
        for seed, result in runs.read_results(folder).items()
        if seed in _seeds(job) and result["status"] == "finished"
    ]
    numbers = [value for value in values if value is not None]
    return sum(numbers) / len(numbers) if numbers else math.nan


def forget_others(folder: Path, job_key: str) -> None:
    """Let results of another job stop counting: they would pass for results of this one."""
    from headsweep.store import runs

    for seed, result in runs.read_results(folder).items():
        if result.get("member_key") != member_key(job_key, seed):
            (folder / f"seed_{seed}" / "result.json").unlink()


def single_folder(job: "Job", inputs: Inputs) -> Path:
    """Where a job that belongs to no sweep is kept."""
    return Path(job.config.root) / "runs" / inputs.job_key


def _train(
    job: "Job",
    features: "FeatureSet",
    seeds: Sequence[int],
    folder: Path,
    watch: "Watcher | None",
) -> list[tuple["MemberResult", dict[str, int]]]:
    """Train the seeds together; each result with the parameter counts."""
    import torch

    from headsweep.training.builder import member_builder, population_builder
    from headsweep.training.loop import Split, fit
    from headsweep.training.size import parameter_counts
    from headsweep.training.targets import Target

    config = job.config
    torch.set_num_threads(config.threads)
    frozen = features.load("train")
    target = Target.fit(config.target, frozen.truth, frozen.axis)
    train = Split.of(frozen, target, config.device)
    val = Split.of(features.load("val"), target, config.device)
    size = (frozen.raw.shape[1], features.meta.dim, target.outputs)
    build = population_builder(job.resolved, *size, config.device)
    member = member_builder(job.resolved, *size)()
    counts = parameter_counts(member, config.pooling, features.meta.dim)
    progress = _Progress(folder, config.optim.steps, list(seeds))

    def on_step(step: int, r68: float | None) -> None:
        progress(step, r68)
        if watch is not None:
            watch.step()

    on_evaluation, also = (watch.evaluation, watch.also) if watch is not None else (None, ())
    results = fit(build, seeds, train, val, target, config.optim, on_step, on_evaluation, also)
    return [(result, counts) for result in results]


class _Progress:
    """Writes ``progress.json`` now and then, for the live display."""

    def __init__(self, folder: Path, steps: int, seeds: list[int]) -> None:
        self.folder, self.steps, self.seeds = folder, steps, seeds
        self.started = time.time()
        self.written = -math.inf
        self(0, None)

    def __call__(self, step: int, r68: float | None) -> None:
        from headsweep.store.runs import write_progress

        now = time.time()
        if now - self.written >= PROGRESS_SECONDS or step == self.steps:
            self.written = now
            times = {"started": self.started, "updated": now}
            steps = {"phase": "training", "step": step, "steps": self.steps}
            write_progress(self.folder, steps | {"seeds": self.seeds, "val": r68} | times)


def _write_member(
    folder: Path, job_key: str, result: "MemberResult", parameters: dict[str, int]
) -> None:
    import pandas as pd

    from headsweep.store.runs import write_member

    kept = ("seed", "status", "reason", "steps", "best_step", "seconds", "metrics")
    predictions = result.predictions
    write_member(
        folder / f"seed_{result.seed}",
        {
            "member_key": member_key(job_key, result.seed),
            **{name: getattr(result, name) for name in kept},
            "parameters": parameters,
        },
        history=result.history,
        weights=result.weights or None,
        last_weights=result.last_weights or None,
        predictions=None if predictions is None else pd.DataFrame(asdict(predictions)),
    )


def _about(job: "Job", config: Mapping[str, Any], inputs: Inputs, cache_key: str) -> dict[str, Any]:
    """Content of ``job.json``."""
    import numpy
    import torch

    from headsweep.store.code_version import code_version

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
        "environment": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "device": job.config.device,
            "threads": job.config.threads,
        },
    }


def track(job: "Job", folder: Path) -> None:
    """Copy a job to MLflow; what goes wrong there does not touch the results."""
    from headsweep.store.tracking import mlflow_client

    try:
        mlflow_client.sync_job(Path(job.config.root), folder, uri=job.config.tracking_uri)
    except mlflow_client.TrackingError as error:
        log.warning("%s", error)
