"""Coverage of the event layer of a verdict: V_ev against a sample of 200,000 events.

python benchmarks/calibration/events.py

Trains two heads on the default simulation, with hits assigned from truth, and scores them on 50
independent samples of the size of the dev split and on a very large one. Prints how often the
intervals hold the value on the very large one; the exit status is 1 where a goal is missed.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from scipy.special import ndtri

from headsweep.events.hepattn_files import write_hepattn
from headsweep.events.simulation import simulate_chunks
from headsweep.report import scoring
from headsweep.report.predictions import Row, Sample
from headsweep.report.resampling import event_means
from headsweep.stats.intervals import wilson
from headsweep.stats.metrics import MARGINS, METRICS
from headsweep.stats.tracks import Array, Tracks
from headsweep.stats.welch import ALPHA, Moments, on_scale, welch
from headsweep.store import runs
from headsweep.store.labels import Block

HEADS = ("conservative", "simpler")
"""The control and the arm."""

NAMES = ("qoverpt_r68", "charge_misid")
"""What is compared: functions of one value a track, so that many events can be put together."""

SEEDS = (3, 5, 8)
DEV_EVENTS = 3000
"""Events of the dev split of the default data."""

LARGE, PART = 200_000, 5000
"""Events behind the true value, and how many of them are held at a time."""

SAMPLE_SEED, LARGE_SEED = 1000, 5000
"""First seeds of the simulations; the default data have 1."""


@dataclass(frozen=True)
class Scored:
    """K trained members on one sample of events, by metric.

    Attributes:
        values: The metric on the scale of its comparison, [K].
        events: The same on R resamples of events, [R, K].
    """

    values: dict[str, Array]
    events: dict[str, Array]


def train(root: Path, seeds: int, steps: int) -> None:
    """Train both heads below a root; what is there is kept."""
    command = ["-c", "from headsweep.cli import main; main()", "train", "-m"]
    keys = [f"head={','.join(HEADS)}", f"seeds={seeds}", f"optim.steps={steps}", f"root={root}"]
    fixed = ["backbone=truth", "name=heads", "tracking=false"]
    subprocess.run([sys.executable, *command, *keys, *fixed], check=True)


def jobs(root: Path) -> list[Path]:
    """The job folders of ``HEADS``, in their order."""
    found = runs.find_jobs(root / "sweeps" / "heads")
    by_head = {(runs.read_job(job) or {})["labels"]["head"]: job for job in found}
    return [by_head[head] for head in HEADS]


def members(folders: list[Path], seed: int, events: int) -> list[Tracks]:
    """Predictions of every member for newly simulated events, head by head."""
    torch.set_num_threads(1)
    with TemporaryDirectory() as temporary:
        write_hepattn(Path(temporary), simulate_chunks(events, seed))
        return [t for job in folders for t in scoring.apply(job, Path(temporary)).values()]


def score(folders: list[Path], events: int, seed: int) -> Scored:
    """One sample: values, and resamples as the report takes them."""
    tracks = members(folders, seed, events)
    rows = [
        Row(str(k), None, [Sample(own, np.ones(len(own), bool), {}, Block(0, 0), k)])
        for k, own in enumerate(tracks)
    ]
    rng = np.random.default_rng(seed)
    values, resampled = {}, {}
    for name in NAMES:
        function, scale = METRICS[name].function, MARGINS[name].scale
        values[name] = on_scale([function(own) for own in tracks], scale)
        resampled[name] = np.stack([*event_means(rows, name, rng).values()], axis=1)
    return Scored(values, resampled)


def residuals(folders: list[Path], events: int, seed: int) -> dict[str, Array]:
    """One value a track, [K, T], of each metric: a part of the very large sample."""
    tracks = members(folders, seed, events)
    found = {}
    for name in NAMES:
        residual = METRICS[name].residual
        assert residual is not None
        found[name] = np.stack([residual(own) for own in tracks])
    return found


def truth(parts: Iterator[Mapping[str, Array]]) -> tuple[dict[str, Array], int]:
    """Each metric of the K members on all parts together, [K], and the number of tracks."""
    kept: dict[str, list[Array]] = {name: [] for name in NAMES}
    for part in parts:
        for name, values in part.items():
            kept[name].append(values)
    found, tracks = {}, 0
    for name in NAMES:
        whole, reduce = np.concatenate(kept.pop(name), axis=1), METRICS[name].reduce
        assert reduce is not None
        found[name], tracks = on_scale(reduce(whole), MARGINS[name].scale), whole.shape[1]
    return found, tracks


def differences(values: Array) -> Array:
    """Mean of the arm's members minus mean of the control's, over the last axis."""
    control, arm = np.split(values, 2, axis=-1)
    difference: Array = arm.mean(axis=-1) - control.mean(axis=-1)
    return difference


@dataclass(frozen=True)
class Line:
    """Coverage by one kind of interval.

    Attributes:
        name: Which.
        share: Of the samples, or of the draws of seeds over all samples.
        low: Lower end of its 95% interval.
        high: Upper end.
        width: Median half-width of the intervals.
    """

    name: str
    share: float
    low: float
    high: float
    width: float

    def covered(self) -> str:
        """The share with its interval."""
        return f"{self.share:.1%} [{self.low:.1%}, {self.high:.1%}]"

    def __str__(self) -> str:
        return f"| {self.name} | {self.covered()} | {self.width:.2g} |"


def fixed_seeds(samples: list[Scored], true: Array, name: str) -> list[Line]:
    """Does +-1.96 sqrt(V_ev) hold the value of these very members on the very large sample?

    Seeds do not vary here, so that the event layer stands alone. One answer a sample; the
    samples are independent, hence Wilson's interval.
    """
    target = float(differences(true))
    found = np.array([differences(sample.values[name]) for sample in samples])
    joint = np.array([differences(sample.events[name]).var(ddof=1) for sample in samples])
    arms = [np.split(sample.events[name], 2, axis=1) for sample in samples]
    apart = np.array([sum(a.mean(axis=1).var(ddof=1) for a in pair) for pair in arms])
    moments = [[Moments.of(half) for half in np.split(s.values[name], 2)] for s in samples]
    ends = np.array([welch(arm, control).interval() for control, arm in moments])
    z = ndtri(1 - ALPHA / 2)
    halves = {
        "V_ev, ours": z * np.sqrt(joint),
        "V_ev of each arm apart, added": z * np.sqrt(apart),
        "seeds only, no V_ev": (ends[:, 1] - ends[:, 0]) / 2,
    }
    lines = []
    for kind, half in halves.items():
        hit = np.abs(found - target) <= half
        ends_ = wilson(int(hit.sum()), len(hit))
        lines.append(Line(kind, float(hit.mean()), *ends_, float(np.median(half))))
    return lines


def drawn_seeds(samples: list[Scored], true: Array, name: str, n: int, draws: int) -> list[Line]:
    """Does the interval of n seeds hold the mean over all K / 2 of each head, on many events?

    Seeds are drawn with replacement, so that the members at hand are the whole population. The
    draws share their samples: the interval is a bootstrap over samples.
    """
    rng = np.random.default_rng(n)
    target, k = float(differences(true)), len(true) // 2
    hits: dict[str, list[float]] = {"seeds and V_ev, ours": [], "seeds only, no V_ev": []}
    widths: dict[str, list[float]] = {kind: [] for kind in hits}
    for sample in samples:
        picks = rng.integers(k, size=(2, draws, n)) + np.array([0, k])[:, None, None]
        control, arm = (Moments.of(sample.values[name][own]) for own in picks)
        # V_ev of a draw is a quadratic form of the members' weights in its difference.
        weights = np.zeros((draws, 2 * k))
        for sign, own in zip((-1, 1), picks, strict=True):
            np.add.at(weights, (np.arange(draws)[:, None], own), sign / n)
        spread = np.cov(sample.events[name], rowvar=False)
        events = np.einsum("di,ij,dj->d", weights, spread, weights)
        for kind, more in zip(hits, (events, 0.0), strict=True):
            low, high = welch(arm, control, more).interval()
            hits[kind].append(float(((low <= target) & (target <= high)).mean()))
            widths[kind].append(float(np.median(high - low)) / 2)
    lines = []
    for kind, shares in hits.items():
        again = rng.choice(np.array(shares), size=(2000, len(shares))).mean(axis=1)
        low, high = np.quantile(again, [0.025, 0.975])
        width = float(np.median(widths[kind]))
        lines.append(Line(f"{kind}, n = {n}", float(np.mean(shares)), low, high, width))
    return lines


def check(
    folders: list[Path], samples: int, events: int, large: int, workers: int
) -> tuple[list[Scored], dict[str, Array], int]:
    """Score all samples and the very large one; in processes of their own, one part at a time."""
    parts = -(-large // PART)
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        found = []
        for one in pool.map(
            partial(score, folders, events), range(SAMPLE_SEED, SAMPLE_SEED + samples)
        ):
            found.append(one)
            print(f"{len(found)} of {samples} samples", file=sys.stderr, flush=True)
        seeds = range(LARGE_SEED, LARGE_SEED + parts)
        true, tracks = truth(pool.map(partial(residuals, folders, min(PART, large)), seeds))
    return found, true, tracks


def show(samples: list[Scored], true: Mapping[str, Array], draws: int) -> dict[str, Line]:
    """Print the tables; the line that each goal is about."""
    goals = {}
    for name in NAMES:
        scale = "ln " if MARGINS[name].scale == "log" else ""
        print(f"\n| Difference of {scale}{name}: {float(differences(true[name])):+.4f} | ", end="")
        print("covered | half-width |\n|---|---|---|")
        fixed = fixed_seeds(samples, true[name], name)
        goals[name] = fixed[0]
        print(*(f"{line}" for line in fixed), sep="\n")
        for n in SEEDS:
            print(*drawn_seeds(samples, true[name], name, n, draws), sep="\n", flush=True)
    return goals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, help="where to train, and find it again; else nowhere")
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--events", type=int, default=DEV_EVENTS, help="of each sample")
    parser.add_argument("--large", type=int, default=LARGE, help="events behind the true value")
    parser.add_argument("--seeds", type=int, default=5, help="trained members of each head")
    parser.add_argument("--steps", type=int, default=1600, help="of each training")
    parser.add_argument("--draws", type=int, default=400, help="draws of seeds for each sample")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    started = time.monotonic()
    with TemporaryDirectory() as temporary:
        root = options.root or Path(temporary)
        train(root, options.seeds, options.steps)
        trained = time.monotonic()
        samples, true, tracks = check(
            jobs(root), options.samples, options.events, options.large, options.workers
        )
    scored = time.monotonic()
    print(f"{options.samples} samples of {options.events:,} events; the value: {tracks:,} tracks")
    goals = show(samples, true, options.draws)
    print()
    met = {name: line.low <= 0.95 <= line.high for name, line in goals.items()}
    for name, line in goals.items():
        word = "met   " if met[name] else "MISSED"
        print(f"{word}  V_ev covers {name}: 95% lies in {line.covered()}")
    print(f"{trained - started:.0f} s of training, {scored - trained:.0f} s of scoring")
    sys.exit(not all(met.values()))


if __name__ == "__main__":
    main()
