"""Time of a grid and of the trials of rates, with each job alone and with eight in one stack.

``python benchmarks/capacity/run.py`` lets real commands train with one worker and one thread,
capacity 1 and 8 in turn, and compares the weights that they leave.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from shutil import copytree
from statistics import median
from tempfile import TemporaryDirectory

from headsweep.terminal import print_table

COMMAND = [sys.executable, "-c", "from headsweep.cli import main; main()", "train", "-m"]
COMMON = ["workers=1", "threads=1", "tracking=false"]
KINDS = {
    "grid": [
        *("rates=tuned", "seeds=1", "optim.lr=0.02,0.06", "optim.weight_decay=0.01,0.1"),
        "head.dropout=0.0,0.1",
    ],
    "rates": ["head=conservative,simpler", "rates=auto", "rates.share=1.0", "seeds=1"],
}
"""A grid of eight arms; two presets, of which only the trials of rates are timed as a training."""

CAPACITIES = (1, 8)


def train(root: Path, overrides: Sequence[str]) -> float:
    """Run a command in a root; returns its wall time in seconds."""
    start = time.monotonic()
    subprocess.run([*COMMAND, *COMMON, *overrides, f"root={root}"], check=True, capture_output=True)
    return time.monotonic() - start


def measure(
    root: Path, kind: str, capacity: int, batch: int, steps: int, turn: int
) -> tuple[float, float, dict[str, str]]:
    """Seconds of training and of the command, and a hash of the weights of every member."""
    name = f"{kind}-{batch}-{turn}"
    own = [f"optim.batch_size={batch}", f"optim.steps={steps}", f"worker.capacity={capacity}"]
    seeds = [f"seed={1 + 2 * turn}", f"rates.seed={101 + 2 * turn}"]  # else they would be copied
    wall = train(root, [*KINDS[kind], *own, f"name={name}", *seeds])
    sweep = root / "sweeps" / (f"{name}-rates" if kind == "rates" else name)
    results = sorted(sweep.glob("jobs/*/seed_*/result.json"))
    by_job: dict[Path, float] = {}
    for path in results:  # the members of one job are timed together
        by_job[path.parents[1]] = json.loads(path.read_bytes())["seconds"]
    weights = {
        str(path.parent.relative_to(sweep)): hashlib.sha256(
            (path.parent / "head.safetensors").read_bytes()
        ).hexdigest()
        for path in results
    }
    return sum(by_job.values()), wall, weights


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--batches", type=int, nargs="+", default=[256, 64])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=[*KINDS])
    args = parser.parse_args(arguments)
    rows = []
    with TemporaryDirectory() as folder:
        roots = {capacity: Path(folder) / str(capacity) for capacity in CAPACITIES}
        first, *others = roots.values()
        train(first, ["rates=tuned", "optim.steps=1", "optim.lr=0.1", "name=before"])
        for root in others:
            copytree(first, root)  # with its data and caches
        for kind in args.kinds:
            for batch in args.batches:
                found: dict[int, list[tuple[float, float]]] = {n: [] for n in CAPACITIES}
                for turn in range(args.turns):
                    weights = {}
                    for capacity, root in roots.items():
                        seconds, wall, weights[capacity] = measure(
                            root, kind, capacity, batch, args.steps, turn
                        )
                        found[capacity].append((seconds, wall))
                        print(kind, batch, capacity, f"{seconds:.1f} s, {wall:.1f} s", flush=True)
                    assert weights[1] == weights[8], f"{kind}, batch {batch}: weights differ"
                middle = {
                    n: [median(c) for c in zip(*own, strict=True)] for n, own in found.items()
                }
                one, eight = middle[1], middle[8]
                ratios = [f"{a / b:.2f}" for a, b in zip(one, eight, strict=True)]
                times = [f"{a:.0f} / {b:.0f}" for a, b in zip(one, eight, strict=True)]
                rows.append([kind, str(batch), times[0], ratios[0], times[1], ratios[1]])
    heads = ["", "batch", "training 1 / 8, s", "ratio", "command 1 / 8, s", "ratio"]
    print("all weights are equal")
    print_table(heads, rows)


if __name__ == "__main__":
    main()
