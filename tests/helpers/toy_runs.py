"""Fabricated caches and run folders whose metrics are known, and the score of their toy heads."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from headsweep.config import (
    Config,
    DataConfig,
    MLPHeadConfig,
    OptimConfig,
    SelectionConfig,
    SpectrometerConfig,
    TruthConfig,
)
from headsweep.features import cache
from headsweep.identity import recipe_key
from headsweep.stats.bins import ABS_ETA
from headsweep.stats.tracks import Tracks
from headsweep.store import runs

CURVES = {
    "last_val_loss": 0.25,
    "steps_to_95": 0.4,
    "loss_at_10pct": 0.6,
    "grad_norm_cv": 0.2,
    "loss_spikes": None,
}
"""Stored metrics of every toy training."""

PT_EDGES = [5.0, 10.0, 20.0, 50.0, 100.0, 200.0]


def normal_grid(n: int, seed: int) -> np.ndarray:
    """n values with exactly the quantiles of a normal distribution, shuffled."""
    values = stats.norm.ppf((np.arange(n) + 0.5) / n)
    return np.random.default_rng(seed).permutation(values)


def smear(truth: np.ndarray, width: float, seed: int) -> np.ndarray:
    """Estimates whose rho is normal with the given width; eta and phi smeared by a tenth of it."""
    n = len(truth)
    eta, phi, pt, q = truth.T.astype(np.float64)
    shift = 0.1 * width * normal_grid(n, seed + 1)
    kappa = q / pt * (1 + width * normal_grid(n, seed))
    return np.stack([eta + shift, phi - shift, 1 / np.abs(kappa), np.sign(kappa)], axis=1)


def write_cache(
    root: Path,
    key: str,
    n_dev: int = 600,
    seed: int = 0,
    usable: float = 0.9,
    n_test: int = 0,
    pt_edges: Sequence[float] = PT_EDGES,
    without_formula: int = 0,
    left_out: Mapping[str, int] | None = None,
) -> None:
    """A cache of frozen features without hits; its references have widths 0.05 and 0.02.

    The classical one can use the first tracks, the formula all but the first few.
    """
    rng = np.random.default_rng(seed)
    folder = root / "cache" / "features" / key
    by_abs_eta, splits = {}, {}
    sizes = {"train": 2 * n_dev, "val": 10, "dev": n_dev, **({"test": n_test} if n_test else {})}
    first = 1000 * seed
    for split, n in sizes.items():
        pt = np.exp(rng.uniform(np.log(2.5), np.log(400), n))
        q = np.where(np.arange(n) % 2, 1.0, -1.0)
        truth = np.stack([rng.uniform(-2.7, 2.7, n), rng.uniform(-3, 3, n), pt, q], axis=1)
        found = np.histogram(np.abs(truth[:, 0]).astype(np.float32), ABS_ETA.edges)[0]
        by_abs_eta[split] = [[k, 2 * k] for k in found.tolist()]  # half of the true tracks
        classical = smear(truth, 0.02, seed)
        classical[round(usable * n) :] = np.nan
        analytic = smear(truth, 0.05, seed + 2)
        analytic[:without_formula] = np.nan
        arrays = {
            "raw": np.zeros((0, 1), np.float32),
            "encoded": np.zeros((0, 1), np.float32),
            "p": np.zeros(0, np.float32),
            "offsets": np.zeros(n + 1, np.int64),
            "query": np.zeros((n, 1), np.float32),
            "truth": truth.astype(np.float32),
            "event": first + np.arange(n) // 2,
            "axis": np.zeros((n, 2), np.float32),
            "analytic": analytic.astype(np.float32),
            "classical": classical.astype(np.float32),
        }
        first += n
        splits[split] = cache.Features(**arrays)
    meta = cache.Meta(
        key=key,
        data_key="0" * 16,
        backbone_key="0" * 16,
        features="bending",
        feature_names=["x"],
        threshold=0.1,
        dim=1,
        plane="rz",
        pt_edges=list(pt_edges),
        min_bin_tracks=100,
        not_modelled=["alignment", "pile-up tracks"],
        left_out=dict(left_out or {}),
        selection=SelectionConfig(),
        selected=dict.fromkeys(sizes, 1.0),
        n_events={name: n // 2 for name, n in sizes.items()},
        n_tracks=sizes,
        efficiency=dict.fromkeys(sizes, 1.0),
        by_abs_eta=by_abs_eta,
        hit_purity=1.0,
        hit_efficiency=1.0,
        bytes_per_track=0.0,
        scales={},
    )
    folder.mkdir(parents=True)
    cache.save(folder, splits, meta)


def write_toy_job(
    folder: Path,
    widths: Mapping[int, float | None],
    *,
    labels: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
    config: Mapping[str, object] | None = None,
    split: Mapping[str, object] | None = None,
    cache_key: str = "cache",
    seeds: int | None = None,
    predictions: Mapping[int, pd.DataFrame] | None = None,
) -> None:
    """A job folder whose head of seed s has rho of width ``widths[s]``; None is a failure."""
    default = Config(
        data=DataConfig(source=SpectrometerConfig()),
        backbone=TruthConfig(),
        head=MLPHeadConfig(),
        optim=OptimConfig(),
        seeds=seeds or len(widths),
    )
    whole = asdict(default) | dict(config or {})
    whole["data"]["split"] |= dict(split or {})
    runs.write_job(
        folder,
        whole,
        {
            "labels": {"head": "conservative", "target": "plain", **(labels or {})},
            "overrides": list(overrides),
            "cache_key": cache_key,
            "recipe_key": recipe_key(whole, cache_key),
            "seeds": [whole["seed"], whole["seeds"]],
        },
    )
    steps = np.array([0, 50, 100])
    for seed, width in widths.items():
        loss = (width or 1.0) * np.exp(-steps / 40)
        history = pd.DataFrame({"step": steps, "train_loss": loss, "val_loss": 1.1 * loss})
        history.loc[0, "train_loss"] = np.nan
        result = {
            "seed": seed,
            "status": "failed" if width is None else "finished",
            "reason": "loss is NaN at step 700" if width is None else None,
            "seconds": 12.0 + seed,
            "parameters": {"total": 65476},
            "metrics": {}
            if width is None
            else {**CURVES, "train_loss": width, "val_qoverpt_r68": width},
        }
        runs.write_member(
            folder / f"seed_{seed}",
            {**result, "width": width},
            history,
            predictions=(predictions or {}).get(seed),
        )


def toy_score(
    job_folder: Path,
    seed: int,
    split: str,
    root: Path,
    weights: str = "head",
    limit: int | None = None,
) -> tuple[Tracks, float]:
    """What ``scoring.score`` is for real heads; the last weights lose 0.2 on train, else 0.3."""
    about, result = runs.read_job(job_folder), runs.read_result(job_folder / f"seed_{seed}")
    assert about is not None
    assert result is not None
    part = cache.open_cache(root, about["cache_key"]).load(split)
    estimate = smear(part.truth, result["width"], seed)
    tracks = Tracks.from_estimate(part.event, part.truth, estimate).take(
        np.arange(len(part))[:limit]
    )
    loss = result["width"] if weights == "head" else {"train": 0.2}.get(split, 0.3)
    assert weights == "head" or len(tracks) == 600
    return tracks, loss


def write_pilot(
    root: Path,
    *arms: Mapping[int, float | None],
    cells: Sequence[Mapping[str, str]] = (),
    **more: object,
) -> Path:
    """A sweep with predictions whose rho is normal, of the seed's width: 600 of dev, 400 of val."""
    rng, n = np.random.default_rng(0), 400
    write_cache(root, "cache")
    pt, q = np.exp(rng.uniform(1, 5, n)), np.where(np.arange(n) % 2, 1.0, -1.0)
    truth = np.stack([rng.uniform(-2, 2, n), rng.uniform(-3, 3, n), pt, q], axis=1)
    sweep = root / "sweeps" / "pilot"
    for number, widths in enumerate(arms):
        tracks = {
            seed: Tracks.from_estimate(np.arange(n) // 2, truth, smear(truth, width, seed))
            for seed, width in widths.items()
            if width is not None
        }
        write_toy_job(
            sweep / "jobs" / str(number),
            widths,
            labels=cells[number] if cells else {"arm": f"arm{number}"},
            predictions={seed: pd.DataFrame(vars(found)) for seed, found in tracks.items()},
            **more,  # type: ignore[arg-type]
        )
    return sweep
