"""Fabricated run folders, and what tests run in processes of their own."""

import multiprocessing
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from headsweep.config import MLPHeadConfig
from headsweep.errors import UserError
from headsweep.identity import member_key
from headsweep.store import runs, specification
from headsweep.store.outcome import Outcome
from headsweep.store.tracking import mlflow_client

os.environ.update(mlflow_client.MLFLOW_SETTINGS)
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["pandas", "torch", "mlflow.store.tracking.sqlalchemy_store"])

HISTORY = ("lr", "train_loss", "val_loss", "val_qoverpt_r68", "grad_norm")


def make_job(
    folder: Path,
    head: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = ("head=conservative",),
    finished: Sequence[int] = (),
    failed: Sequence[int] = (),
    seeds: int = 2,
    evaluations: int = 3,
    cache_key: str = "cachekey",
    pooling: Mapping[str, Any] | None = None,
    folds: int | None = None,
) -> Path:
    """Write a job folder as a training does; seeds in ``failed`` fail, the others finish."""
    config = {
        "data": {
            "split": {"folds": folds},
            "source": {"_target_": "Spectrometer", "events": 500, "pt_edges": [5, 10]},
        },
        "head": {
            "_target_": MLPHeadConfig._target_,
            "regression_hidden_dim": 144,
            "regression_num_layers": 3,
            "dropout": 0.1,
            **(head or {}),
        },
        "pooling": {
            "width": "full",
            "statistics": ["avg", "sum", "max", "min"],
            "query": True,
            "raw": True,
            "encoded": True,
            **(pooling or {}),
        },
        "target": {"name": "plain", "relative": False},
        "features": {"name": "bending", "assignment_threshold": 0.1},
        "optim": {"steps": 100, "batch_size": 256, "lr": 3e-3, "patience": None},
        "seed": 0,
        "seeds": seeds,
    }
    groups = ("pooling=full", "data=spectrometer", "features=bending", "target=plain")
    choices = ("head=conservative", "arm=baseline", *groups, *overrides)
    job = {
        "job_key": f"job-{folder.name}",
        "labels": dict(choice.split("=") for choice in choices if "." not in choice),
        "overrides": list(overrides),
        "data_key": "0123456789abcdef",
        "checkpoint": "none",
        "cache_key": cache_key,
        "recipe_key": "0" * 16,
        "seeds": [0, seeds],
        "code_version": "0.1.0",
    }
    runs.write_job(folder, config, job)
    for seed in (*finished, *failed):
        write_member(folder, seed, seed in failed, evaluations)
    return folder


def write_member(
    job: Path, seed: int, failed: bool, evaluations: int, status: str | None = None
) -> None:
    rng = np.random.default_rng(seed)
    steps = np.linspace(0, 100, evaluations).astype(int)
    columns = {name: rng.random(evaluations) for name in HISTORY}
    columns["grad_norm"][0] = np.nan  # no gradient before the first step
    counts = {"raw_projection": 768, "encoded_projection": 1056, "head": 63652, "total": 65476}
    weights = {"regression_head.0.weight": torch.full((4, 3), float(seed))}
    result = {
        "member_key": member_key(f"job-{job.name}", seed),
        "seed": seed,
        "status": status or ("failed" if failed else "finished"),
        "reason": "loss is NaN at step 70" if failed else None,
        "steps": 100,
        "best_step": None if failed else 50,
        "seconds": 12.5,
        "parameters": counts | {"aggregated_dim": 288},
        "metrics": {} if failed else {"val_qoverpt_r68": 0.1 + 0.01 * seed, "steps_to_95": np.nan},
    }
    runs.write_member(
        job / f"seed_{seed}",
        result,
        pd.DataFrame({"step": steps, **columns}),
        None if failed else weights,
        None if failed else weights,
        None if failed else pd.DataFrame({"event": [1, 2], "pt": [5.0, np.nan]}),
    )


def make_search(sweep: Path, *objectives: str) -> Path:
    """Claim a sweep's folder for a search, as the sweep command does."""
    named = list(objectives or ["val_qoverpt_r68"])
    specification.claim_sweep(sweep, {"search": {"head.dropout": "0..1"}, "objective": named})
    return sweep


def make_trial(
    sweep: Path, number: int, state: str, *values: float, seeds: int = 3, **more: Any
) -> Path:
    """Write the folder of a trial; each of its seeds is off its values by 0.01 times itself."""
    folder = sweep / "jobs" / str(number)
    status = "finished" if state == "complete" else state
    make_job(folder, overrides=["head.dropout=0.25"], seeds=seeds)
    for seed in range(seeds):
        write_member(folder, seed, failed=status == "failed", evaluations=3, status=status)
    Outcome(
        state=state,
        values=list(values),
        spread=[0.01] * len(values),
        seeds={seed: [value + 0.01 * (seed - 1) for value in values] for seed in range(seeds)},
        intermediate={0: 0.9, 50: 0.5},
        params={"head.dropout": 0.25, "head.regression_hidden_dim": 144, "data/selection": "all"},
        **more,
    ).write(folder)
    return folder


def write_for_ever(folder: Path) -> None:
    """Write a member again and again, each time with its round in every file."""
    round_ = 0
    while True:
        history = pd.DataFrame({"step": [round_] * 100})
        runs.write_member(folder, {"round": round_}, history, {"w": torch.full((300,), round_)})
        round_ += 1


def claim(folder: Path, value: int) -> str:
    """Outcome of claiming a sweep with a specification of one value."""
    try:
        specification.claim_sweep(folder, {"value": value})
    except UserError:
        return "refused"
    return "claimed"
