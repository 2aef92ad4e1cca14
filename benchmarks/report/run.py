"""Time of a report beside 10,000 runs, as a user waits for it.

python benchmarks/report/run.py

Trains four tiny presets, writes a search of 10,000 trials beside them with the project's own
writers, and times ``headsweep report`` of each. The exit status is 1 above ten seconds.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from headsweep.identity import member_key, recipe_key
from headsweep.store import runs, specification
from headsweep.store.outcome import Outcome
from headsweep.store.tracking.sync import sync_job

GOAL = 10.0
"""Seconds for a report."""

COMMAND = [sys.executable, "-c", "from headsweep.cli import main; main()"]
PRESETS = "head=conservative,more_capacity,simpler,direct_projection"
TINY = ["data=tiny", "backbone=truth", "optim.steps=20", "optim.batch_size=64"]
START = "import headsweep.report.build, headsweep.store.tracking.mlflow_client, mlflow"
"""What every report loads before it does anything."""

OBJECTIVE = "val_qoverpt_r68"
SCORED = 10
"""So many trials are read by weights and histories; the others have neither."""

EVALUATIONS = 30


def write_search(root: Path, trials: int, seeds: int) -> Path:
    """A search of finished trials: 60% complete, 39% pruned, 1% failed.

    Each is a real job of the sweep ``presets`` with another width and dropout in its
    configuration; its figures are drawn at random.
    """
    # The disk need not have them: they are read at once and thrown away.
    wait, os.fsync = os.fsync, lambda handle: None
    try:
        return _write_search(root, trials, seeds)
    finally:
        os.fsync = wait


def _write_search(root: Path, trials: int, seeds: int) -> Path:
    model = root / "sweeps" / "presets" / "jobs" / "0"
    config, about = runs.read_config(model), runs.read_job(model) or {}
    result = runs.read_results(model)[0]
    member = model / "seed_0"
    history = pd.read_csv(member / "history.csv")
    weights = [runs.load_weights(member / f"{name}.safetensors") for name in ("head", "last")]
    sweep = root / "sweeps" / "search"
    spec = {"search": {"head.dropout": "interval(0, 0.4)"}, "objective": [OBJECTIVE]}
    specification.claim_sweep(sweep, {**spec, "direction": ["minimize"], "n_trials": trials})
    runs.write_command(sweep, "headsweep train sweeps=search name=search")
    rng = np.random.default_rng(0)
    values = 0.2 + rng.gamma(2.0, 0.05, (trials, seeds))
    complete = rng.random(trials) < 0.6
    means = np.where(complete, values.mean(axis=1), np.inf)
    best = {int(number) for number in np.argsort(means)[:SCORED]}
    for number in range(trials):
        # Weights fit the trained head, so that only what nothing depends on differs there.
        width = 144 if number in best else int(rng.integers(32, 512))
        params = {"head.dropout": float(rng.uniform(0, 0.4)), "head.regression_hidden_dim": width}
        head = {**config["head"], "dropout": params["head.dropout"]}
        folder = sweep / "jobs" / str(number)
        own = {**config, "head": {**head, "regression_hidden_dim": width}, "seeds": seeds}
        job = {
            **about,
            "job_key": f"{number:016x}",
            "recipe_key": recipe_key(own, about["cache_key"]),
            "seeds": [0, seeds],
            "overrides": [f"{k}={v}" for k, v in params.items()],
        }
        runs.write_job(folder, own, job)
        state = "complete" if complete[number] else "failed" if rng.random() < 0.025 else "pruned"
        for seed in range(seeds):
            status = "finished" if state == "complete" else state
            metrics = {**result["metrics"], OBJECTIVE: float(values[number, seed])}
            key = member_key(job["job_key"], seed)
            content = {
                **result,
                "seed": seed,
                "member_key": key,
                "status": status,
                "metrics": metrics,
            }
            # Members that are equal to the last digit would count as one.
            near = [
                {name: w * (1 + 0.01 * rng.standard_normal()) for name, w in kept.items()}
                for kept in weights
            ]
            more = (history, *near) if number in best else ()
            runs.write_member(folder / f"seed_{seed}", content, *more)
        _outcome(state, values[number], params).write(folder)
    return sweep


def _outcome(state: str, values: np.ndarray[Any, Any], params: Mapping[str, Any]) -> Outcome:
    mean = float(values.mean())
    curve = {50 * i: mean + 0.5 / (i + 1) for i in range(EVALUATIONS)}
    reasons = {"complete": None, "pruned": "above the median", "failed": "loss is NaN"}
    found = Outcome(state, reasons[state], intermediate=curve, params=dict(params))
    if state == "failed":
        return found
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    seeds = {seed: [float(value)] for seed, value in enumerate(values)}
    return replace(found, values=[mean], spread=[spread], seeds=seeds)


def seconds(*command: str) -> float:
    """Time of a command on the clock."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=1, help="of each trial")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--root", type=Path, help="written where missing and kept; else nowhere")
    options = parser.parse_args()
    with TemporaryDirectory() as temporary:
        root = options.root or Path(temporary)
        if not (root / "sweeps").is_dir():
            subprocess.run(
                [
                    *COMMAND,
                    "train",
                    "-m",
                    PRESETS,
                    *TINY,
                    "seeds=5",
                    "name=presets",
                    f"root={root}",
                ],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            search = write_search(root, options.trials, options.seeds)
            # One trial alone is enough to make the sweep's run, to which the report is copied.
            sync_job(root, search / "jobs" / "0")
        start = [seconds(sys.executable, "-c", START) for _ in range(options.repeats)]
        found = {
            name: [
                seconds(*COMMAND, "report", name, "--root", str(root))
                for _ in range(options.repeats)
            ]
            for name in ("presets", "search")
        }
    print(f"{options.trials:,} trials of {options.seeds} seed(s), load {os.getloadavg()[0]:.1f}")
    print("| | median s | fastest s |\n|---|---:|---:|")
    for name, times in {"start-up alone": start, **found}.items():
        print(f"| {name} | {statistics.median(times):.1f} | {min(times):.1f} |")
    sys.exit(max(statistics.median(times) for times in found.values()) > GOAL)


if __name__ == "__main__":
    main()
