"""Saved weights applied to frozen features: the only way anything is scored after training."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from headsweep.config import SplitConfig
from headsweep.config.stored import completed
from headsweep.errors import UserError
from headsweep.events.base import Events, Source
from headsweep.events.hepattn import Hepattn
from headsweep.features import cache as features_cache
from headsweep.features import other_events
from headsweep.features.extract import TrackFormula, no_estimate
from headsweep.features.truth_check import load_events
from headsweep.identity import SHORT_NAMES, stable_hash
from headsweep.instantiate import code_digests, make, own_code, own_targets
from headsweep.stats.tracks import Tracks, concatenate
from headsweep.store import paths
from headsweep.store.runs import load_weights, read_config, read_job, read_results
from headsweep.training.builder import population_builder
from headsweep.training.loop import Split
from headsweep.training.loss import Loss
from headsweep.training.members import Population
from headsweep.training.targets import estimate_dim


@lru_cache(maxsize=4)
def _prepared(root: Path, cache_key: str, name: str, learnt: str) -> tuple[Split, Loss]:
    """One split and the loss fitted to training; kept, for the next member needs them.

    ``learnt`` is a configuration as JSON, as far as the loss needs it.
    """
    cache = features_cache.open_cache(root, cache_key)
    train = cache.load("train")
    loss = Loss.fit(json.loads(learnt), train.truth, train.axis)
    return Split.of(cache.load(name), loss.target), loss


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread.

    One member's batch is too small for two cores, which would wait for each other. And the figures
    then do not depend on how many there are.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def score(
    job_folder: Path,
    seed: int,
    split: str,
    root: Path,
    weights: str = "head",
    limit: int | None = None,
) -> tuple[Tracks, float]:
    """Predictions and loss of one finished member on a split.

    Args:
        job_folder: The folder of its job.
        seed: The member.
        split: ``train``, ``val``, ``dev`` or ``test``.
        root: The folder of all output, which has the cache.
        weights: ``head`` for the kept weights, ``last`` for those of the last step.
        limit: Score the first so many tracks only.

    Returns:
        The scored tracks with their predictions, and the mean loss on them.
    """
    config, about = _stored(job_folder)
    learnt = json.dumps({key: config[key] for key in ("target", "loss") if key in config})
    data, loss = _prepared(root, about["cache_key"], split, learnt)
    population = _trained(job_folder, config, [seed], data, loss, weights)
    outputs = population.predict(data.hits, torch.arange(len(data))[:limit])
    value = loss.of_members(outputs, data.targets[None, :limit])
    return data.tracks(loss, outputs[0]), float(value[0])


def open_test(job_folder: Path, root: Path) -> tuple[str, str]:
    """Make sure that ``score`` finds a test split; that of a simulation is made now.

    Args:
        job_folder: The folder of a job.
        root: The folder of all output, which has the cache.

    Returns:
        The key (16 hex) of the sample, by which its readings are counted, and what it is.

    Raises:
        UserError: The data of the job have no test split.
    """
    config, about = _stored(job_folder)
    cache = features_cache.open_cache(root, about["cache_key"])
    source: Source = make(completed(config["data"]["source"]))
    sample = source.test_sample()
    split = config["data"]["split"]
    if sample is not None:
        other_events.build_test(cache, source, SplitConfig(**split), make(config["backbone"]), root)
        return sample.key(), "a new sample of the simulation"
    cache.load("test")
    if getattr(source, "splits", None) is not None:  # the same events under any data.split
        return stable_hash([about["data_key"], "test"]), "the test events of these data"
    return stable_hash([about["data_key"], split]), "the split test of these data"


class Applied(NamedTuple):
    """Heads applied to other events.

    Attributes:
        tracks: For each seed the tracks that were found and pass, with their predictions. Where no
            event has a true track, the truth is NaN.
        events: The events.
    """

    tracks: dict[int, Tracks]
    events: Events


def apply(job_folder: Path, data: Path) -> Applied:
    """Predictions of the finished members of a job for other events.

    Hits are assigned to true tracks as in training; a track that the backbone does not find, or
    that the selection of the training cuts, has no prediction. Events without truth have the
    tracks that the backbone finds itself, see ``other_events.features_of_events``.

    Args:
        job_folder: The folder of the job.
        data: A folder in the layout that the job was trained on: ATLAS-muon HDF5 for the
            simulated spectrometer, too.

    Raises:
        UserError: The folder is no job, or has no finished member, or the data do not fit it.
    """
    config, about = _stored(job_folder)
    root = paths.root_of(job_folder)
    seeds = [s for s, r in read_results(job_folder).items() if r["status"] == "finished"]
    if not seeds:
        raise UserError(f"{job_folder}: no finished member to predict with")
    cache = features_cache.open_cache(root, about["cache_key"])
    train = cache.load("train")
    loss = Loss.fit(config, train.truth, train.axis)
    source = _source_at(config["data"]["source"], data, cache.meta)
    events = load_events(source, root, truth=False)
    backbone = make({**config["backbone"], **_recorded_at(config["backbone"], data)})
    found: dict[int, list[Tracks]] = {seed: [] for seed in seeds}
    formula: TrackFormula = no_estimate
    if estimate_dim(config) or loss.target.analytic:
        data_config = config["data"]
        trained_on = make(completed(data_config["source"])), SplitConfig(**data_config["split"])
        formula = other_events.calibrated(cache, *trained_on, root)
    for frozen in other_events.features_of_events(cache.meta, backbone, events, root, formula):
        split = Split.of(frozen, loss.target)
        population = _trained(job_folder, config, seeds, split, loss, "head")
        outputs = population.predict(split.hits, torch.arange(len(split)))
        for seed, own in zip(seeds, outputs, strict=True):
            found[seed].append(split.tracks(loss, own))
    return Applied({seed: concatenate(parts) for seed, parts in found.items()}, events)


def _stored(job_folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Configuration and ``job.json`` of a job."""
    about = read_job(job_folder)
    if about is None:
        raise UserError(f"{job_folder} {paths.NO_JOB}")
    config = read_config(job_folder)
    check_code(job_folder, config, about)
    return config, about


def check_code(job_folder: Path, config: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Refuse the user's own code that is not what a job was trained with.

    Raises:
        UserError: A module has changed; the message names the copy that the job keeps.
    """
    trained = about.get("own_code") or {}
    now = code_digests(own_code(*own_targets(config)))
    for module in sorted(trained.keys() | now.keys()):
        if trained and trained.get(module) != now.get(module):
            raise UserError(
                f"{job_folder}: the module {module} is not the one that this job was trained with, "
                f"which is kept there as {paths.CODE}{module}.py; put that one on PYTHONPATH, or "
                "train again"
            )


def _trained(
    job_folder: Path,
    config: Mapping[str, Any],
    seeds: Sequence[int],
    data: Split,
    loss: Loss,
    weights: str,
) -> Population:
    """The members of a job with their saved weights."""
    inputs, dim = data.hits.raw.shape[1], data.hits.query.shape[1]
    population = population_builder(config, inputs, dim, loss.outputs)(seeds)
    population.load(
        [load_weights(paths.seed_folder(job_folder, s) / f"{weights}.safetensors") for s in seeds]
    )
    return population


def _recorded_at(node: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """The place of a backbone that was recorded with the events."""
    return {"path": str(folder)} if SHORT_NAMES.get(node["_target_"]) == "recorded" else {}


def _source_at(node: Mapping[str, Any], folder: Path, meta: features_cache.Meta) -> Source:
    """A job's source, reading another folder; a simulation is read in the layout it writes."""
    if "path" in node:
        own = {"val": None, "test": None} if "val" in node else {}
        source: Source = make({**completed(node), "path": str(folder), **own})
        return source
    edges, least = meta.pt_edges, meta.min_bin_tracks
    return Hepattn(str(folder), edges, least, {}, val=None, test=None, features=None)
