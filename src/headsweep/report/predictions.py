"""What a report compares: predictions of heads and of references on one split, dev or test."""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from headsweep.config import TargetConfig
from headsweep.features import cache as features_cache
from headsweep.stats.bins import ABS_ETA, far_from_reference
from headsweep.stats.curves import gap
from headsweep.stats.metrics import Array, Tracks, concatenate
from headsweep.store import runs
from headsweep.store.labels import Job
from headsweep.training.builder import member_builder
from headsweep.training.size import track_flops
from headsweep.training.targets import Target

CURVE_METRICS = (
    "train_loss",
    "last_val_loss",
    "steps_to_95",
    "loss_at_10pct",
    "grad_norm_cv",
    "loss_spikes",
)
"""Metrics of a training's curves that are taken from its ``result.json``."""


class Score(Protocol):
    """Scores saved weights, as ``scoring.score`` does."""

    def __call__(
        self,
        job_folder: Path,
        seed: int,
        split: str,
        root: Path,
        weights: str = "head",
        limit: int | None = None,
    ) -> tuple[Tracks, float]:
        """Predictions and loss of one member on a split, or on its first ``limit`` tracks."""
        ...


@dataclass(frozen=True)
class Cache:
    """What a report needs of one cache of frozen features.

    Attributes:
        meta: What is known of it.
        split: Which one is scored.
        references: Predictions of each reference on it, NaN where it has no estimate.
        classical_train: The classical reference on the training split.
        hits: Assigned hits of one of its tracks, on average.
    """

    meta: features_cache.Meta
    split: str
    references: dict[str, Tracks]
    classical_train: Tracks
    hits: float

    @classmethod
    def open(cls, root: Path, key: str, split: str) -> "Cache":
        """Read the references of a cache under ``root`` on one split."""
        cache = features_cache.open_cache(root, key)
        scored, train = cache.load(split), cache.load("train")
        own = cache.holding(split).meta
        facts = ("selected", "n_events", "n_tracks", "efficiency", "by_abs_eta")
        both = {name: getattr(cache.meta, name) | getattr(own, name) for name in facts}
        # What a head says that knows nothing: the training mean, and the more frequent charge.
        constant = np.asarray(train.truth, dtype=np.float64).mean(axis=0)
        constant[3] = 1.0 if constant[3] >= 0 else -1.0
        estimates = {
            "constant predictor": np.broadcast_to(constant, scored.truth.shape),
            "analytic estimate": scored.analytic,
            "classical reference": scored.classical,
        }
        return cls(
            meta=replace(cache.meta, **both),
            split=split,
            references={
                name: Tracks.from_estimate(scored.event, scored.truth, estimate)
                for name, estimate in estimates.items()
            },
            classical_train=Tracks.from_estimate(train.event, train.truth, train.classical),
            hits=float(scored.offsets[-1]) / len(scored),
        )

    @property
    def common(self) -> NDArray[np.bool_]:
        """Scored tracks with a classical reference, [T]."""
        return self.references["classical reference"].usable

    def far(self, tracks: Tracks) -> float:
        """``far_from_reference`` of scored tracks; the reference's core is taken on training."""
        return far_from_reference(tracks, self.classical_train, self.meta.pt_edges)


@dataclass(frozen=True)
class Sample:
    """Predictions of one member, or of a reference, on the scored split of one cache.

    Attributes:
        tracks: The predictions.
        common: Those with a classical reference, [T].
        scalars: Figures that are no function of the tracks alone, by name; ``dev_loss`` and
            ``last_dev_loss`` are of the scored split, whichever that is.
        block: (split seed, fold).
        seed: The member's seed.
    """

    tracks: Tracks
    common: NDArray[np.bool_]
    scalars: dict[str, float]
    block: tuple[int, int]
    seed: int


@dataclass(frozen=True)
class Row:
    """One configuration or reference.

    Attributes:
        label: Its name.
        kind: ``head`` or ``reference``.
        folds: k of a cross-validation, or None.
        samples: Its finished members.
        planned: Members that it has or will have; 0 for a reference.
        problems: What became of the others.
        parameters: Trained parameters; 0 for a reference.
        flops: Operations of one prediction, see ``size.track_flops``; NaN for a reference.
        seconds: For each job the longest time from a training's start to a member's end, summed;
            NaN for a reference.
        usable: Share of the scored tracks that have an estimate.
        usable_by_eta: The same in each bin of ``ABS_ETA``, NaN of nothing; empty for a head.
        efficiency_by_eta: Share of the true tracks that were found and have an estimate, alike.
        inputs: What the backbone gave it, in words; empty for a reference.
        curves: Histories of the finished members.
        losses: What the losses are of, see ``labels.Job``; empty for a reference.
    """

    label: str
    kind: str
    folds: int | None
    samples: list[Sample]
    planned: int = 0
    problems: tuple[str, ...] = ()
    parameters: int = 0
    flops: float = math.nan
    seconds: float = math.nan
    usable: float = 1.0
    usable_by_eta: tuple[float, ...] = ()
    efficiency_by_eta: tuple[float, ...] = ()
    inputs: str = ""
    curves: tuple[pd.DataFrame, ...] = ()
    losses: tuple[str, bool] | tuple[()] = ()

    def shares_tracks(self, other: "Row") -> bool:
        """Whether both have samples, on the same tracks."""
        if not self.samples or not other.samples:
            return False
        ours, theirs = self.samples[0].tracks, other.samples[0].tracks
        return np.array_equal(ours.event, theirs.event) and np.array_equal(
            ours.pt_true, theirs.pt_true
        )

    def pooled(self) -> list[Sample]:
        """Predictions from which the value is taken: each member's, of all its folds together."""
        if self.folds is None:
            return self.samples
        together: dict[tuple[int, int], list[Sample]] = {}
        for sample in self.samples:
            together.setdefault((sample.block[0], sample.seed), []).append(sample)
        return [
            Sample(
                tracks=concatenate([s.tracks for s in parts]),
                common=np.concatenate([s.common for s in parts]),
                scalars={},
                block=(split_seed, 0),
                seed=seed,
            )
            for (split_seed, seed), parts in together.items()
        ]


def head_row(
    label: str, jobs: Sequence[Job], caches: Mapping[str, Cache], root: Path, score: Score
) -> Row:
    """Score every finished member of a configuration's jobs."""
    samples, problems, curves = [], [], []
    parameters, seconds = 0, 0.0
    for job in jobs:
        cache = caches[job.cache_key]
        results = runs.read_results(job.folder)
        problems += _problems(job, results)
        seconds += max((r["seconds"] or 0.0 for r in results.values()), default=0.0)
        for seed, result in results.items():
            if result["status"] == "finished":
                parameters = result["parameters"]["total"]
                sample = _score(job, seed, cache, root, score)
                stored = {k: result["metrics"].get(k) for k in CURVE_METRICS}
                sample.scalars.update({k: math.nan if v is None else v for k, v in stored.items()})
                samples.append(sample)
                curves.append(pd.read_csv(job.folder / f"seed_{seed}" / "history.csv"))
    own = [caches[key] for key in dict.fromkeys(job.cache_key for job in jobs)]
    return Row(
        label=label,
        kind="head",
        folds=jobs[0].folds,
        samples=samples,
        planned=sum(len(job.seeds) for job in jobs),
        problems=tuple(problems),
        parameters=parameters,
        flops=_flops(jobs[0], caches[jobs[0].cache_key]),
        seconds=seconds,
        efficiency_by_eta=tuple(_found_by_eta(own)),
        inputs=_inputs(own),
        curves=tuple(curves),
        losses=jobs[0].losses,
    )


def _flops(job: Job, cache: Cache) -> float:
    """Operations of one prediction, for the mean number of hits of a scored track."""
    config, meta = runs.read_config(job.folder), cache.meta
    outputs = Target.fit(
        TargetConfig(**config["target"]), np.ones((2, 4)), np.zeros((2, 2))
    ).outputs
    member = member_builder(config, len(meta.feature_names), meta.dim, outputs)()
    return track_flops(member, cache.hits)


def _inputs(caches: Sequence[Cache]) -> str:
    """How much of the truth reaches a head: a track that was not found is in no other figure."""
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


def _found_by_eta(caches: Sequence[Cache]) -> Array:
    """Share of the true tracks that the backbone found in each bin of ``ABS_ETA``, NaN of none."""
    counts = np.sum([cache.meta.by_abs_eta[cache.split] for cache in caches], axis=0)
    return _ratio(counts[:, 0], counts[:, 1])


def _ratio(part: NDArray[Any], total: NDArray[Any]) -> Array:
    ratio: Array = np.divide(part, total, out=np.full(len(total), np.nan), where=total > 0)
    return ratio


def _problems(job: Job, results: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """A line for each failed member, and one for those without a result."""
    where = f"split seed {job.block[0]}, fold {job.block[1]}, " if job.folds else ""
    lines = [
        f"{where}seed {seed}: " + str(result["reason"]).removeprefix(f"seed {seed}: ")
        for seed, result in results.items()
        if result["status"] == "failed"
    ]
    missing, total = len(job.seeds - results.keys()), len(job.seeds)
    return lines + ([f"{where}no result of {missing} of {total} seeds"] if missing else [])


def _score(job: Job, seed: int, cache: Cache, root: Path, score: Score) -> Sample:
    split = cache.split
    tracks, dev_loss = score(job.folder, seed, split, root)
    # The gap compares two losses on equal numbers of tracks.
    limit = min(cache.meta.n_tracks[split], cache.meta.n_tracks["train"])
    _, last_dev = score(job.folder, seed, split, root, weights="last", limit=limit)
    _, last_train = score(job.folder, seed, "train", root, weights="last", limit=limit)
    return Sample(
        tracks=tracks,
        common=cache.common,
        scalars={
            "dev_loss": dev_loss,
            "last_dev_loss": last_dev,
            "gap": gap(last_dev, last_train),
            "far_from_reference": cache.far(tracks),
        },
        block=job.block,
        seed=seed,
    )


def val_row(label: str, jobs: Sequence[Job]) -> Row:
    """The finished members on validation, as training stored their predictions.

    ``seconds`` are those of one seed.
    """
    samples, seconds = [], 0.0
    for job in jobs:
        results = _finished(job.folder)
        for seed in results:
            file = job.folder / f"seed_{seed}" / "predictions_val.parquet"
            columns = pd.read_parquet(file)
            tracks = Tracks(**{str(name): columns[name].to_numpy() for name in columns})
            everyone = np.ones(len(tracks), dtype=bool)
            samples.append(Sample(tracks, everyone, {}, job.block, seed))
        if results:
            seconds += max(results.values()) / len(results)
    return Row(label, "head", None, samples, seconds=seconds)


def _finished(folder: Path) -> Mapping[int, float]:
    """Seconds of each finished member, by seed; members of a job train together."""
    results = runs.read_results(folder).items()
    return {seed: r["seconds"] or 0.0 for seed, r in results if r["status"] == "finished"}


def reference_rows(rows: Mapping[str, Sequence[Job]], caches: Mapping[str, Cache]) -> list[Row]:
    """The references of the given configurations, each once where they share data and hits."""
    distinct: dict[str, dict[str, tuple[str, Row]]] = {}
    for label, jobs in rows.items():
        blocks = {job.block: caches[job.cache_key] for job in jobs}
        for name in caches[jobs[0].cache_key].references:
            row = _reference_row(name, jobs[0].folds, blocks)
            distinct.setdefault(name, {}).setdefault(_digest(row), (label, row))
    return [
        row if len(found) == 1 else replace(row, label=f"{name} ({label})")
        for name, found in distinct.items()
        for label, row in found.values()
    ]


def _reference_row(name: str, folds: int | None, blocks: Mapping[tuple[int, int], Cache]) -> Row:
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
        samples.append(Sample(tracks, cache.common[usable], scalars, block, seed=0))
    found = sum(len(sample.tracks) for sample in samples)
    by_eta = _ratio(kept, seen)
    return Row(
        label=name,
        kind="reference",
        folds=folds,
        samples=samples,
        usable=found / total,
        usable_by_eta=tuple(by_eta),
        efficiency_by_eta=tuple(by_eta * _found_by_eta([*blocks.values()])),
    )


def _digest(row: Row) -> str:
    digest = hashlib.sha256()
    for sample in row.samples:
        for field in fields(Tracks):
            digest.update(getattr(sample.tracks, field.name).tobytes())
    return digest.hexdigest()
