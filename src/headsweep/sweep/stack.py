"""Training of jobs, one alone or several of one shape as a stack, into their run folders.

Torch and pandas are imported where they are used, so that workers start quickly.
"""

import math
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headsweep.identity import SHORT_NAMES, member_key, recipe_key, stable_hash
from headsweep.instantiate import code_digests
from headsweep.store import paths, runs
from headsweep.store.code_version import code_version
from headsweep.store.members import copy_member, training_of, usable_members
from headsweep.sweep.inputs import Inputs, build_features, feature_folder, with_width

if TYPE_CHECKING:
    from headsweep.features.cache import FeatureSet
    from headsweep.sweep.compose import Job
    from headsweep.training.record import MemberResult

PROGRESS_SECONDS = 0.5
"""Least time between two writes of ``progress.json``."""


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


@dataclass(frozen=True)
class Part:
    """A job of a stack.

    Attributes:
        job: The validated job.
        inputs: Its source and backbone.
        folder: Where to write; other seeds of the same job may be there already.
        seeds: Those to train.
        hooks: Called during the training.
        found: Seed folders of members elsewhere, which are copied instead.
    """

    job: "Job"
    inputs: Inputs
    folder: Path
    seeds: Sequence[int]
    hooks: Hooks = Hooks()
    found: Sequence[str] = ()


def shape(job: "Job", inputs: Inputs) -> str:
    """Hash of all that the jobs of one stack share; what else they have is of each member.

    Heads of ours may differ in their dropout, and losses in all but the number of their outputs.
    """
    config, resolved = job.config, with_width(job.resolved)
    own: dict[str, object] = {
        "optim.steps": config.optim.steps,
        "optim.batch_size": config.optim.batch_size,
    }
    own |= {key: resolved[key] for key in ("pooling", "target")}
    own |= {"loss": (config.loss.name, config.loss.charge)}
    own |= {"run": (config.device, config.threads), "code": code_digests(inputs.code)}
    head = {k: v for k, v in resolved["head"].items() if k != "dropout" or not _drops(resolved)}
    return stable_hash({**own, "head": head, "features": str(feature_folder(job, inputs))})


def _drops(resolved: Mapping[str, Any]) -> bool:
    """Whether the dropout of a resolved head may be of each member: it is a head of ours."""
    return SHORT_NAMES.get(resolved["head"]["_target_"]) == "mlp"


def train_together(parts: Sequence[Part]) -> Iterator[int]:
    """Train jobs of one shape as one stack; what comes of each does not depend on the others.

    Args:
        parts: The jobs.

    Yields:
        The place of each part, when its folder has all its seeds.

    Raises:
        UserError: The data or the head cannot be used.
    """
    features = build_features(parts[0].job, parts[0].inputs)
    rest = {}
    for place, part in enumerate(parts):
        missing = _begin(part, features)
        if missing:
            rest[place] = missing
        else:
            yield place
    places = [*rest]
    stack, seeds = [parts[place] for place in places], [*rest.values()]
    for number, results, parameters in _train(stack, features, seeds):
        part = parts[places[number]]
        for result in results:
            _write_member(part.folder, part.inputs.job_key, result, parameters)
        yield places[number]


def _begin(part: Part, features: "FeatureSet") -> list[int]:
    """Write a job's folder but for its members, copy those that are elsewhere; returns the rest."""
    job, inputs, folder = part.job, part.inputs, part.folder
    known = {*job.seeds, *runs.read_results(folder)}
    config = job.resolved | {"seed": min(known), "seeds": len(known)}
    usable = usable_members(map(Path, part.found), inputs.job_key, part.seeds)
    rest = [seed for seed in part.seeds if seed not in usable]
    about = _about(job, config, inputs, features.meta.key)
    runs.write_code(folder, inputs.code)
    runs.write_job(folder, config, about if rest else about | training_of(usable.values()))
    for seed, source in usable.items():
        copy_member(source, paths.seed_folder(folder, seed))
    return rest


def _train(
    parts: Sequence[Part], features: "FeatureSet", seeds: Sequence[Sequence[int]]
) -> "Iterator[tuple[int, list[MemberResult], dict[str, int]]]":
    """Train the seeds of all parts; gives place, results and parameter counts of each."""
    if not parts:
        return
    import torch

    from headsweep.training.builder import member_builder, population_builder
    from headsweep.training.loop import Split, fit
    from headsweep.training.loss import Loss
    from headsweep.training.recipe import Recipe
    from headsweep.training.size import parameter_counts
    from headsweep.training.targets import check_estimate, estimate_dim

    job = parts[0].job
    config = job.config
    torch.set_num_threads(config.threads)
    frozen = features.load("train")
    check_estimate(job.resolved, frozen.analytic)
    losses = [Loss.fit(part.job.resolved, frozen.truth, frozen.axis) for part in parts]
    train = Split.of(frozen, losses[0].target, config.device)
    val = Split.of(features.load("val"), losses[0].target, config.device)
    size = (frozen.raw.shape[1], features.meta.dim, losses[0].outputs)
    build = population_builder(job.resolved, *size, config.device)
    member = member_builder(job.resolved, *size)()
    estimate = estimate_dim(job.resolved)
    counts = parameter_counts(member, config.pooling, features.meta.dim, estimate)
    recipes = [
        Recipe(
            seeds=own,
            loss=loss,
            optim=part.job.config.optim,
            dropout=part.job.resolved["head"]["dropout"] if _drops(part.job.resolved) else None,
            on_step=_on_step(part, own),
            on_evaluation=part.hooks.on_evaluation,
            also=part.hooks.also,
        )
        for part, own, loss in zip(parts, seeds, losses, strict=True)
    ]
    for place, results in fit(build, recipes, train, val):
        yield place, results, counts


def _on_step(part: Part, seeds: Sequence[int]) -> Callable[[int, float | None], None]:
    """Tells how far a job is, and calls its hook."""
    progress = _Progress(part.folder, part.job.config.optim.steps, list(seeds))

    def on_step(step: int, r68: float | None) -> None:
        progress(step, r68)
        part.hooks.on_step()

    return on_step


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
