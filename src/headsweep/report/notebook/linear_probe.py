"""Linear read-out of the pooled features: no head and no training.

A head sees a track through averages, sums and extremes over its hits. If a straight line through
those numbers finds the charge, it is there for the taking; the heads show what a curved one finds.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import stats

from headsweep.config import (
    STATISTICS,
    FeaturesConfig,
    PoolingConfig,
    SelectionConfig,
    SplitConfig,
)
from headsweep.config.stored import completed
from headsweep.errors import UserError
from headsweep.features import cache as features_cache
from headsweep.features import extract
from headsweep.features.cache import Features, FeatureSet
from headsweep.instantiate import make
from headsweep.stats.bins import pt_axis
from headsweep.stats.tracks import Array, Tracks
from headsweep.store.paths import NO_JOB
from headsweep.store.runs import read_config, read_job
from headsweep.training.pooling import pool, to_hits
from headsweep.training.targets import Target

RIDGES = tuple(float(value) for value in np.logspace(-3, 4, 15))
"""Ridge strengths that are tried, in units of the mean squared weight of a track."""

PARTS = ("raw", "encoded")
"""Inputs that are pooled: the hit features, or the transformer's encoding of them."""


def feature_sets(
    job_folder: Path, root: Path, names: Sequence[str] = ("document", "bending")
) -> dict[str, FeatureSet]:
    """The frozen features of a job with each kind of hit features; made where they are missing.

    Args:
        job_folder: The folder of the job.
        root: The folder of all output.
        names: Kinds of hit features, see ``conf/features``.

    Raises:
        UserError: The folder is no job, or the source has no such features.
    """
    about = read_job(job_folder)
    if about is None:
        raise UserError(f"{job_folder} {NO_JOB}")
    config, found = read_config(job_folder), {}
    for name in names:
        if name == config["features"]["name"]:
            found[name] = features_cache.open_cache(root, about["cache_key"])
            continue
        data = config["data"]
        found[name] = extract.build(
            make(completed(data["source"])),
            make(config["backbone"]),
            SplitConfig(**data["split"]),
            FeaturesConfig(**{**config["features"], "name": name}),
            root,
            selection=SelectionConfig(**data["selection"]),
        )
    return found


def pooled(split: Features, part: str = "raw") -> Array:
    """Pooled features of each track, as a head with the identity as projection sees them.

    Args:
        split: T tracks with their hits.
        part: ``raw`` or ``encoded``, C columns.

    Returns:
        Average, sum, maximum and minimum over the hits of each track, [T, 4C]. Average and sum are
        weighted by the assignment probability. Zeros for a track without hits.
    """
    if part not in PARTS:
        raise UserError(f"part={part}: must be one of {', '.join(PARTS)}")
    hits = to_hits(split)
    columns = getattr(hits, part).shape[1]
    params = {f"{part}.weight": torch.eye(columns)[None], f"{part}.bias": torch.zeros(1, columns)}
    config = PoolingConfig(
        query=False, raw=part == "raw", encoded=part == "encoded", statistics=[*STATISTICS]
    )
    found = pool(config, params, hits, torch.arange(len(hits))[None])
    return found[0].numpy().astype(np.float64)


def ridge(x: Array, y: Array, weight: Array) -> tuple[Array, float, float]:
    """Linear fit with the ridge that generalised cross-validation chooses; nothing is held out.

    Minimises sum w (y - x b - a)^2 + strength |b|^2, the strength out of ``RIDGES`` times the mean
    of w.

    Args:
        x: Standardised columns, [T, C].
        y: What is fitted, [T].
        weight: w of each track, [T], positive.

    Returns:
        b [C], a, and the strength.
    """
    center, level = np.average(x, axis=0, weights=weight), float(np.average(y, weights=weight))
    root = np.sqrt(weight)
    u, s, vt = np.linalg.svd((x - center) * root[:, None], full_matrices=False)
    kept = s > 1e-10 * s[0]
    u, s, vt = u[:, kept], s[kept], vt[kept]
    target = (y - level) * root
    along = u.T @ target
    rest = float(target @ target - along @ along)
    strengths = [strength * float(weight.mean()) for strength in RIDGES]

    def criterion(strength: float) -> float:
        shrunk = s**2 / (s**2 + strength)
        error = rest + float(np.sum((along * (1 - shrunk)) ** 2))
        return error / (len(y) - 1 - float(shrunk.sum())) ** 2

    best = min(strengths, key=criterion)
    slope = vt.T @ (along * s / (s**2 + best))
    return slope, level - float(center @ slope), best


def read_out(cache: FeatureSet, part: str = "raw", split: str = "val") -> Tracks:
    """q/pT as a linear function of the pooled features, fitted on training.

    Tracks count in the fit by the square of their pT, so that what is minimised is the relative
    error of q/pT, as in the metrics. Knowing nothing then means q/pT = 0, for which r68 is 1.

    Args:
        cache: The frozen features.
        part: ``raw`` or ``encoded``.
        split: Where it is applied.

    Returns:
        The tracks of the split with the estimate; eta and phi are the mean direction of the hits.
    """
    train, other = cache.load("train"), cache.load(split)
    x, new = pooled(train, part), pooled(other, part)
    scale = features_cache.ColumnScale.of(x.astype(np.float32))
    x, new = (scale.apply(values.astype(np.float32)).astype(np.float64) for values in (x, new))
    pt, q = (np.asarray(train.truth[:, column], dtype=np.float64) for column in (2, 3))
    slope, level, _ = ridge(x, q / pt, pt**2)
    outputs = np.zeros((len(other), 3))
    outputs[:, 2] = new @ slope + level
    physical = Target("q_over_pt", True, 1.0, np.zeros(3), np.ones(3), 5 * float(pt.max()))
    return physical.decode(outputs, other.truth, other.axis, other.event)


def correlations(cache: FeatureSet, part: str = "raw") -> pd.DataFrame:
    """Rank correlation of each pooled hit feature with q/pT on training.

    Args:
        cache: The frozen features.
        part: ``raw``, or ``encoded``, whose C columns have numbers instead of names.

    Returns:
        4C rows, the strongest first: ``feature``, ``statistic`` and ``rank_correlation``
        (Spearman; 0 for a constant column).
    """
    train = cache.load("train")
    values = stats.rankdata(pooled(train, part), axis=0)
    kappa = stats.rankdata(train.truth[:, 3] / train.truth[:, 2])
    values, kappa = values - values.mean(axis=0), kappa - kappa.mean()
    size = np.linalg.norm(values, axis=0) * np.linalg.norm(kappa)
    found = np.divide(kappa @ values, size, out=np.zeros_like(size), where=size > 0)
    columns = len(found) // len(STATISTICS)
    names = cache.meta.feature_names if part == "raw" else [str(i) for i in range(columns)]
    table = pd.DataFrame(
        {
            "feature": [*names] * len(STATISTICS),
            "statistic": np.repeat(STATISTICS, columns),
            "rank_correlation": found,
        }
    )
    return table.sort_values("rank_correlation", key=np.abs, ascending=False, ignore_index=True)


def residuals(tracks: Tracks, pt_edges: Sequence[float]) -> pd.DataFrame:
    """The relative error of q/pT of each track, with its bin.

    Args:
        tracks: T scored tracks.
        pt_edges: Quoted bins of pT in GeV.

    Returns:
        T rows: ``pt_true`` (GeV), ``abs_eta``, ``rho`` (0 is perfect, about -2 a charge flip),
        ``wrong_charge``, and ``low`` and ``high``, the edges of the pT bin (GeV).
    """
    axis = pt_axis(pt_edges)
    index, edges = axis.index(tracks), np.array(axis.edges)
    return pd.DataFrame(
        {
            "pt_true": tracks.pt_true,
            "abs_eta": np.abs(tracks.eta_true),
            "rho": tracks.rho,
            "wrong_charge": tracks.wrong_charge,
            "low": edges[index],
            "high": edges[index + 1],
        }
    )
