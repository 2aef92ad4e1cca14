"""The wall time of 4 presets x 8 seeds: headsweep against joblib and Lightning.

``python benchmarks/peers/run.py`` runs them in turns, on the same cached features, with the same
number of workers, one thread each.
"""

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from headsweep.terminal import print_table

HERE = Path(__file__).parent
PRESETS = ("conservative", "more_capacity", "simpler", "direct_projection")
GOALS = {"joblib": 1.8, "lightning": 10.0}
"""Times as long as ours, at least."""
LIGHTNING_STEPS = 50
"""Steps that Lightning takes; the time of all of all members is computed from them."""


def ours(overrides: Sequence[str], seeds: int, workers: int, name: str) -> list[float]:
    """Train by the command; r68 of every member."""
    root = Path(next(o for o in overrides if o.startswith("root=")).removeprefix("root="))
    words = [f"head={','.join(PRESETS)}", f"seeds={seeds}", f"workers={workers}", f"name={name}"]
    _run([str(Path(sys.executable).with_name("headsweep")), "train", "-m", *overrides, *words])
    jobs = [root / "sweeps" / name / "jobs" / str(number) for number in range(len(PRESETS))]
    return [
        json.loads((job / f"seed_{seed}" / "result.json").read_text())["metrics"]["val_qoverpt_r68"]
        for job in jobs
        for seed in range(seeds)
    ]


def peer(script: str, task: dict[str, Any]) -> Any:
    """What a script beside this one says of a task in its last line: r68 of every trial."""
    out = _run([sys.executable, str(HERE / script)], json.dumps(task))
    return json.loads(out.splitlines()[-1])


def _run(command: Sequence[str], text: str = "") -> str:
    done = subprocess.run(
        command,
        input=text,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent / "step")},
    )
    if done.returncode:
        sys.exit(f"{command[1]}: {done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3200, help="of each member")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers", nargs="*", default=[*GOALS], choices=GOALS)
    parser.add_argument("--overrides", nargs="*", default=["backbone=truth"])
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        overrides = [
            *asked.overrides,
            *(f"root={folder}/runs", "rates=tuned", "tracking=false", f"optim.steps={asked.steps}"),
        ]
        trials = [
            {"preset": preset, "seed": seed}
            for preset, seed in itertools.product(PRESETS, range(asked.seeds))
        ]
        task = {"overrides": overrides, "workers": asked.workers, "trials": trials}
        _run(
            [str(Path(sys.executable).with_name("headsweep")), "train", *overrides, "optim.steps=1"]
        )
        times: dict[str, list[float]] = {}
        for repeat in range(asked.repeats):
            values = {}
            for name in ("ours", *asked.peers):
                began = time.perf_counter()
                if name == "ours":
                    values[name] = ours(overrides, asked.seeds, asked.workers, f"repeat{repeat}")
                elif name == "lightning":
                    steps = min(asked.steps, LIGHTNING_STEPS)
                    step = peer("with_lightning.py", task | {"steps": steps})
                    taken = step * asked.steps * len(trials) / asked.workers
                else:
                    values[name] = peer(f"with_{name}.py", task)
                if name != "lightning":
                    taken = time.perf_counter() - began
                times.setdefault(name, []).append(taken)
                print(f"{name}: {taken:.1f} s", file=sys.stderr)
            if "joblib" in values and values["joblib"] != values["ours"]:
                sys.exit(f"joblib has other results than headsweep: {values}")
            # A member that was trained once is not trained again: the next repeat needs its own.
            _forget(Path(folder) / "runs/sweeps")
    report(times, asked)


def _range(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _forget(sweeps: Path) -> None:
    shutil.rmtree(sweeps)


def report(times: dict[str, list[float]], asked: argparse.Namespace) -> None:
    """Print the table; write the figures; end with 1 where a goal is missed."""
    ratios = {
        name: [own / mine for own, mine in zip(of, times["ours"], strict=True)]
        for name, of in times.items()
    }
    rows = [
        [
            name,
            f"{statistics.median(of):.1f}",
            _range(ratios[name]),
            f"{GOALS[name]:g}" if name in GOALS else "",
        ]
        for name, of in times.items()
    ]
    members = f"{len(PRESETS)} presets x {asked.seeds} seeds"
    print(f"{members}, {asked.steps} steps, {asked.workers} workers")
    print_table(["", "median s", "times ours", "goal"], rows, words=(0,))
    if asked.json is not None:
        asked.json.write_text(json.dumps({"seconds": times, "ratios": ratios}, indent=1) + "\n")
    missed = [n for n in asked.peers if statistics.median(ratios[n]) < GOALS[n]]
    sys.exit(f"goal missed: {', '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
