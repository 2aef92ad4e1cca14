"""Predictions of heads and of references on the scored split, dev or test."""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from headsweep.identity import stable_hash
from headsweep.report.scored_cache import CONSTANT, ScoredCache
from headsweep.stats.bins import ABS_ETA
from headsweep.stats.curves import TRAINING_METRICS, gap
from headsweep.stats.metrics import LAST_LOSSES, SCORED_LOSSES
from headsweep.stats.tracks import Array, Tracks, concatenate
from headsweep.store import paths, runs
from headsweep.store.labels import Block, LossKey, StoredJob, has_zero
from headsweep.training.builder import member_builder
from headsweep.training.loss import Loss
from headsweep.training.size import count, track_flops

Score = Callable[..., tuple[Tracks, float]]
"""Scores saved weights; ``scoring.score``, which says what it takes and gives."""


@dataclass(frozen=True)
class Sample:
    """Predictions of one member, or of a reference, on the scored split of one cache.

    Attributes:
        tracks: The predictions.
        common: Those that every reference can use, [T].
        scalars: Figures that are no function of the tracks alone, by name; a loss names its split.
        block: The part of the data.
        seed: The member's seed.
        events: Key of the events and of their split, see ``_events``.
        stations: Stations with assigned hits of each track, [T]; None where nothing tells them.
    """

    tracks: Tracks
    common: NDArray[np.bool_]
    scalars: Mapping[str, float]
    block: Block
    seed: int
    events: str = ""
    stations: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Row:
    """Predictions under one label.

    Attributes:
        label: Name of the configuration or reference.
        folds: k of a cross-validation, or None.
        samples: One for each finished member; of a reference one for each block.
    """

    label: str
    folds: int | None
    samples: list[Sample]

    def shares_tracks(self, other: "Row") -> bool:
        """True if both have samples, on the same tracks."""
        if not self.shares_events(other):
            return False
        ours, theirs = self.samples[0].tracks, other.samples[0].tracks
        return np.array_equal(ours.event, theirs.event) and np.array_equal(
            ours.pt_true, theirs.pt_true
        )

    def common_share(self, other: "Row") -> float:
        """Share of the tracks of the first members, together, that both have; 1 without tracks."""
        ours, theirs = (
            pd.DataFrame({"event": t.event, "pt": t.pt_true, "eta": t.eta_true}).drop_duplicates()
            for t in (row.samples[0].tracks for row in (self, other))
        )
        common = len(ours.merge(theirs))
        return common / both if (both := len(ours) + len(theirs) - common) else 1.0

    def shares_events(self, other: "Row") -> bool:
        """True if both have samples, trained and judged on the same events."""
        if not self.samples or not other.samples:
            return False
        return self.samples[0].events == other.samples[0].events

    def pooled(self) -> list[Sample]:
        """Predictions from which the value is taken: each member's, of all its folds together."""
        if self.folds is None:
            return self.samples
        together: dict[tuple[int, int], list[Sample]] = {}
        for sample in self.samples:
            together.setdefault((sample.block.split_seed, sample.seed), []).append(sample)
        return [
            Sample(
                tracks=concatenate([s.tracks for s in parts]),
                common=np.concatenate([s.common for s in parts]),
                scalars={},
                block=Block(split_seed, 0),
                seed=seed,
                stations=_all_stations(parts),
            )
            for (split_seed, seed), parts in together.items()
        ]


def _all_stations(parts: Sequence[Sample]) -> NDArray[np.int64] | None:
    """Stations of the tracks of several samples, one after the other."""
    found = [sample.stations for sample in parts if sample.stations is not None]
    return np.concatenate(found) if len(found) == len(parts) else None


@dataclass(frozen=True)
class HeadRow(Row):
    """One configuration with its finished members.

    Attributes:
        loss: What its losses are of.
        parameters: Trained parameters; 0 where the head cannot be built.
        planned: Members that it has or will have.
        failed: Those that failed, as a head without information in their place would predict: the
            constant predictor, with no other figures.
        problems: A line for each reason for which members did not finish.
        flops: Operations of one prediction, see ``size.track_flops``.
        seconds: For each job the longest time from a training's start to a member's end, summed.
        inputs: What the backbone gave it, in words.
        efficiency_by_eta: Share of the true tracks that were found in each bin of ``ABS_ETA``.
        curves: Histories of the finished members.
    """

    loss: LossKey
    parameters: int
    planned: int
    failed: tuple[Sample, ...]
    problems: tuple[str, ...]
    flops: float
    seconds: float
    inputs: str
    efficiency_by_eta: tuple[float, ...]
    curves: tuple[pd.DataFrame, ...]


@dataclass(frozen=True)
class ReferenceRow(Row):
    """One reference, which is not trained.

    Attributes:
        reference: Its short name, one of ``ScoredCache.references``; a label may say more.
        usable: Share of the scored tracks that have an estimate.
        usable_by_eta: The same in each bin of ``ABS_ETA``, NaN of nothing.
        efficiency_by_eta: Share of the true tracks that were found and have an estimate, alike.
    """

    reference: str
    usable: float
    usable_by_eta: tuple[float, ...]
    efficiency_by_eta: tuple[float, ...]


def head_row(
    label: str,
    jobs: Sequence[StoredJob],
    caches: Mapping[str, ScoredCache],
    root: Path,
    score: Score,
) -> HeadRow:
    """Score every finished member of a configuration's jobs."""
    samples, failed, problems, curves = [], [], [], []
    seconds = 0.0
    for job in jobs:
        cache = caches[job.cache_key]
        results = runs.read_results(job.folder)
        problems += job.problems()
        blind = cache.references[CONSTANT]
        failed += [Sample(blind, cache.common, {}, job.block, seed) for seed in job.failed]
        seconds += max((r["seconds"] or 0.0 for r in results.values()), default=0.0)
        for seed, result in results.items():
            if result["status"] == "finished":
                samples.append(_score(job, seed, result["metrics"], cache, root, score))
                curves.append(runs.read_history(paths.seed_folder(job.folder, seed)))
    own = [caches[key] for key in dict.fromkeys(job.cache_key for job in jobs)]
    parameters, flops = _size(jobs[0], own[0], bool(samples))
    return HeadRow(
        label=label,
        folds=jobs[0].folds,
        samples=samples,
        loss=jobs[0].loss,
        parameters=parameters,
        planned=sum(len(job.seeds) for job in jobs),
        failed=tuple(failed),
        problems=tuple(problems),
        flops=flops,
        seconds=seconds,
        inputs=_inputs(own),
        efficiency_by_eta=tuple(_found_by_eta(own)),
        curves=tuple(curves),
    )


def _events(job: StoredJob) -> str:
    """Key of the events of a job and of their split: equal ones are trained and judged alike.

    The folds and split seeds of one cross-validation share it.
    """
    about, split = runs.read_job(job.folder) or {}, runs.read_config(job.folder)["data"]["split"]
    inner = ("fold", "seed") if job.folds else ()
    return stable_hash([about.get("data_key"), {k: v for k, v in split.items() if k not in inner}])


def _size(job: StoredJob, cache: ScoredCache, trained: bool) -> tuple[int, float]:
    """Parameters, and operations of one prediction with the mean hits of a scored track.

    Both are 0 where the head cannot be built, which may be why nothing was ``trained``.
    """
    config, meta = runs.read_config(job.folder), cache.meta
    outputs = Loss.unfitted(config).outputs
    try:
        member = member_builder(config, len(meta.feature_names), meta.dim, outputs)()
    except Exception:
        if trained:
            raise
        return 0, 0.0
    return count(member), track_flops(member, cache.hits)


def _inputs(caches: Sequence[ScoredCache]) -> str:
    """The share of the truth that reaches a head; a lost track is in no other figure."""
    metas, split = [cache.meta for cache in caches], caches[0].split

    def mean(values: Iterable[float]) -> str:
        return f"{np.mean([*values]):.1%}"

    return (
        f"at threshold {metas[0].threshold:g} the backbone finds "
        f"{mean(m.efficiency[split] for m in metas)} of the true tracks of {split}; "
        f"hit purity {mean(m.hit_purity for m in metas)}, "
        f"hit efficiency {mean(m.hit_efficiency for m in metas)} on val"
        + (f" (means over {len(metas)} folds)" if len(metas) > 1 else "")
    )


def _found_by_eta(caches: Sequence[ScoredCache]) -> Array:
    """Share of the true tracks that the backbone found in each bin of ``ABS_ETA``, NaN of none."""
    counts = np.sum([cache.meta.by_abs_eta[cache.split] for cache in caches], axis=0)
    return _ratio(counts[:, 0], counts[:, 1])


def _ratio(part: NDArray[Any], total: NDArray[Any]) -> Array:
    ratio: Array = np.divide(part, total, out=np.full(len(total), np.nan), where=total > 0)
    return ratio


def _score(
    job: StoredJob,
    seed: int,
    stored: Mapping[str, float | None],
    cache: ScoredCache,
    root: Path,
    score: Score,
) -> Sample:
    """Score one member; ``stored`` are the metrics of its ``result.json``, None for NaN."""
    split = cache.split
    tracks, loss = score(job.folder, seed, split, root)
    # The gap compares two losses on equal numbers of tracks.
    limit = min(cache.meta.n_tracks[split], cache.meta.n_tracks["train"])
    _, last = score(job.folder, seed, split, root, weights="last", limit=limit)
    _, last_train = score(job.folder, seed, "train", root, weights="last", limit=limit)
    curves = {name: stored.get(name) for name in TRAINING_METRICS}
    return Sample(
        tracks=tracks.sharing_truth(cache.references[CONSTANT]),
        common=cache.common,
        scalars={
            SCORED_LOSSES[split]: loss,
            LAST_LOSSES[split]: last,
            "gap": gap(last, last_train) if has_zero(job.loss) else math.nan,
            "far_from_reference": cache.far(tracks),
            **{name: math.nan if value is None else value for name, value in curves.items()},
        },
        block=job.block,
        seed=seed,
        events=_events(job),
        stations=cache.stations,
    )


def val_row(label: str, jobs: Sequence[StoredJob]) -> Row:
    """The finished members on validation, as training stored their predictions."""
    samples = []
    for job in jobs:
        events = _events(job)
        for seed in runs.finished_seconds(job.folder):
            tracks = Tracks(**runs.read_predictions(paths.seed_folder(job.folder, seed)))
            everyone = np.ones(len(tracks), dtype=bool)
            samples.append(Sample(tracks, everyone, {}, job.block, seed, events))
    return Row(label, None, samples)


def reference_rows(
    groups: Mapping[str, Sequence[StoredJob]], caches: Mapping[str, ScoredCache]
) -> list[ReferenceRow]:
    """The references of the given configurations, each once where they share data and hits.

    Args:
        groups: Label and jobs of each configuration.
        caches: By key.
    """
    distinct: dict[str, dict[str, tuple[str, ReferenceRow]]] = {}
    for label, jobs in groups.items():
        blocks = {job.block: caches[job.cache_key] for job in jobs}
        for name in caches[jobs[0].cache_key].references:
            row = _reference_row(name, jobs[0].folds, blocks)
            distinct.setdefault(name, {}).setdefault(_digest(row), (label, row))
    return [
        row if len(found) == 1 else replace(row, label=f"{name} ({label})")
        for name, found in distinct.items()
        for label, row in found.values()
    ]


def _reference_row(
    name: str, folds: int | None, blocks: Mapping[Block, ScoredCache]
) -> ReferenceRow:
    samples, total = [], 0
    bins = len(ABS_ETA.edges) - 1
    seen, kept = np.zeros(bins), np.zeros(bins)
    for block, cache in blocks.items():
        everything = cache.references[name]
        usable = everything.usable
        tracks = everything.take(usable)
        total += len(everything)
        seen += np.bincount(ABS_ETA.index(everything), minlength=bins)
        kept += np.bincount(ABS_ETA.index(tracks), minlength=bins)
        scalars = {"far_from_reference": cache.far(tracks)}
        stations = None if cache.stations is None else cache.stations[usable]
        common = cache.common[usable]
        samples.append(Sample(tracks, common, scalars, block, seed=0, stations=stations))
    by_eta = _ratio(kept, seen)
    return ReferenceRow(
        label=name,
        folds=folds,
        samples=samples,
        reference=name,
        usable=sum(len(sample.tracks) for sample in samples) / total,
        usable_by_eta=tuple(by_eta),
        efficiency_by_eta=tuple(by_eta * _found_by_eta([*blocks.values()])),
    )


def _digest(row: ReferenceRow) -> str:
    digest = hashlib.sha256()
    for sample in row.samples:
        for values in sample.tracks.columns().values():
            digest.update(values.tobytes())
    return digest.hexdigest()
