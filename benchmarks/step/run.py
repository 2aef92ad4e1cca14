"""Speed of a training step: tracks x members a second, and its share of the processor's peak.

``python benchmarks/step/run.py`` measures one thread, on a synthetic workload as the document has
it and on the project's own simulation, with the malloc as it comes and with a tuned one. All
variants run in turns, by the time of the processor, as others may use the machine.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory

import naive
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from headsweep.config import PoolingConfig
from headsweep.features.cache import Features
from headsweep.heads.mlp import MLPHead
from headsweep.terminal import print_table
from headsweep.training import direct
from headsweep.training.loop import Split, update
from headsweep.training.loss import Loss
from headsweep.training.members import AdamW, Batches, Population, build_member

TUNED = "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=4294967296"
WIDTH, CLIP, RATE, DECAY = 144, 1.0, 1e-3, 0.01
SIZES = [(k, b) for k in (1, 8) for b in (64, 256, 512)]
PEAK = 768
"""Rows and columns of the matrices whose product gives the peak."""


def padded(tracks: int) -> tuple[Features, NDArray[np.int64]]:
    """Workload (a): events of one track and 600 hits, 20 to 60 of them the track's."""
    rng = np.random.default_rng(0)
    counts = rng.integers(20, 61, tracks)

    def normal(*shape: int) -> NDArray[np.float32]:
        return rng.standard_normal(shape, np.float32)

    hits = int(counts.sum())
    angles, pt = normal(tracks, 2), np.exp(rng.normal(3, 1, tracks))
    truth = np.column_stack([angles, pt, rng.choice([-1, 1], tracks)]).astype(np.float32)
    split = Features(
        raw=normal(hits, 23),
        encoded=normal(hits, 32),
        p=rng.uniform(0.1, 1, hits).astype(np.float32),
        offsets=np.concatenate([[0], np.cumsum(counts)]),
        query=normal(tracks, 32),
        truth=truth,
        event=np.arange(tracks),
        axis=truth[:, :2],
        analytic=truth,
        classical=truth,
    )
    return split, np.full(tracks, 600)


def simulated(root: Path, events: int) -> tuple[Features, NDArray[np.int64]]:
    """Workload (b): the default simulation, by the real command; events of 54 to 115 hits."""
    keys = [f"data.source.events={events}", "optim.steps=1", "tracking=false", f"root={root}"]
    if not (root / "cache").is_dir():
        command = [str(Path(sys.executable).with_name("headsweep")), "train", *keys]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (folder,) = (root / "cache" / "features").glob("*/train")
    split = Features(**{f.name: np.load(folder / f"{f.name}.npy") for f in fields(Features)})
    return split, np.random.default_rng(0).integers(54, 116, len(np.unique(split.event)))


def flops(split: Features, outputs: int) -> float:
    """Operations of one member's step on one track, products and sums counted as two.

    Every matrix of the head is multiplied three times: forward, for the gradient of its inputs and
    for its own. The projections are applied to every hit of the track and to their sum, forward;
    backward, to the sum and to the two hits per output that won. All else is left out.
    """
    inputs, dim = split.raw.shape[1] + split.encoded.shape[1], split.query.shape[1]
    head = 9 * dim * WIDTH + WIDTH * WIDTH + WIDTH * outputs
    hits = len(split.p) / len(split)
    return 2.0 * (3 * head + inputs * dim * (hits + 1 + 1 + 2))


class Ours:
    """The project's step for K members and batches of B tracks, in two variants."""

    def __init__(self, split: Features, members: int, batch: int) -> None:
        self.loss = Loss.fit({"target": {"name": "plain"}}, split.truth, split.axis)
        self.data, config = Split.of(split, self.loss.target), PoolingConfig()
        inputs, dim, seeds = split.raw.shape[1], split.query.shape[1], range(members)
        self.population = Population(
            lambda: build_member(
                config, inputs, dim, 4, lambda a, o: MLPHead(a, o, WIDTH, 3, 0.1, True)
            ),
            config,
            seeds,
        )
        self.batches = Batches(seeds, len(split), batch)
        self.optimiser = AdamW(self.population.weights, DECAY)

    def step(self) -> None:
        """One update as a training makes it."""
        rates = [RATE] * len(self.population)
        rows = self.batches.next()
        update(self.population, self.optimiser, self.data, self.loss, rows, rates, CLIP)

    def autograd(self) -> None:
        """The same with autograd."""
        chosen = direct.is_direct
        direct.is_direct = lambda _: False
        try:
            self.step()
        finally:
            direct.is_direct = chosen


def take_turns(
    variants: dict[str, Callable[[], object]], calls: dict[str, int], seconds: float
) -> dict[str, tuple[float, float]]:
    """Run variants in turns, several calls at a time; median processor and clock time of a call."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    end = time.monotonic() + seconds
    while time.monotonic() < end or min(map(len, times.values())) < 3:
        for name, call in variants.items():
            call()  # brings its memory into the cache again
            for _ in range(calls.get(name, 1)):
                clock, processor = time.perf_counter(), time.thread_time()
                call()
                used = time.thread_time() - processor, time.perf_counter() - clock
                times[name].append(used)
    return {name: tuple(np.median(all_, axis=0)) for name, all_ in times.items()}


def product() -> Callable[[], object]:
    """The product of matrices whose rate is taken for the peak."""
    a, b, c = torch.randn((3, PEAK, PEAK))
    return lambda: torch.mm(a, b, out=c)


def measure(name: str, split: Features, hits: NDArray[np.int64], seconds: float) -> None:
    """Print both tables of a workload."""
    per_track = flops(split, 4)
    print(
        f"\nworkload {name}: {len(split):,} tracks, {len(split.p) / len(split):.1f} hits a track, "
        f"{per_track / 1e3:.0f} kFLOP a track and step; load {os.getloadavg()[0]:.1f}"
    )
    rows = []
    for members, batch in SIZES:
        ours = Ours(split, members, batch)
        variants = {"peak": product(), "step": ours.step, "autograd": ours.autograd}
        found = take_turns(variants, {"peak": 3, "step": 5, "autograd": 5}, seconds)
        peak = 2 * PEAK**3 / found["peak"][0]
        rows.append([str(members), str(batch), f"{peak / 1e9:.0f}"])
        for variant in ("step", "autograd"):
            rate = members * batch / found[variant][0]
            rows[-1] += [f"{found[variant][0] * 1e3:.2f}", f"{rate / 1e3:.1f}k"]
            rows[-1].append(f"{rate * per_track / peak:.0%}")
    heads = ["K", "B", "peak GFLOP/s", "step ms", "rate", "of peak"]
    print_table([*heads, "autograd ms", "rate", "of peak"], rows)
    compare(split, hits, seconds)


def compare(split: Features, hits: NDArray[np.int64], seconds: float, batch: int = 512) -> None:
    """Print the rates beside those of the naive loop, at batches of 512 tracks."""
    loss = Loss.fit({"target": {"name": "plain"}}, split.truth, split.axis)
    targets = Split.of(split, loss.target).targets
    some = split.event < np.unique(split.event)[min(1024, len(np.unique(split.event)) - 1)]
    tracks = int(some.sum())
    kept = {f.name: getattr(split, f.name) for f in fields(Features)}
    events = naive.Events(Features(**kept), targets, hits[:1024])
    size = max(round(batch * len(events) / max(tracks, 1)), 1)
    model = naive.Naive(split.raw.shape[1], split.query.shape[1], 4)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)

    def batches() -> object:
        loader = DataLoader(events, size, shuffle=True, collate_fn=naive.collate, drop_last=True)
        while True:
            yield from loader

    source = batches()
    seen: list[int] = []

    def naive_step() -> None:
        one = next(source)
        seen.append(int(one[-1].sum()))
        naive.step(model, optimiser, one, CLIP)

    ours = {members: Ours(split, members, batch) for members in (1, 8)}
    variants: dict[str, Callable[[], object]] = {"naive": naive_step}
    variants |= {f"K={members}": one.step for members, one in ours.items()}
    found = take_turns(variants, {"K=1": 5, "K=8": 2}, 2 * seconds)
    base = float(np.mean(seen)) / found["naive"][0]
    rows = [["naive, one member", f"{base / 1e3:.2f}k", "1"]]
    for members in ours:
        rate = members * batch / found[f"K={members}"][0]
        rows.append([f"step, K={members}", f"{rate / 1e3:.1f}k", f"{rate / base:.0f}"])
    print_table(["batches of 512 tracks", "tracks x members a second", "ratio"], rows)


def main() -> None:
    """Measure with both mallocs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="for each size")
    parser.add_argument("--events", type=int, default=3000, help="simulated, for workload (b)")
    parser.add_argument("--root", type=Path, help="where the cache of workload (b) is kept")
    parser.add_argument("--malloc", choices=["default", "tuned"], help="only this one")
    args = parser.parse_args()
    if args.malloc is None:
        with TemporaryDirectory() as folder:
            for malloc in ("default", "tuned"):
                own = ["--malloc", malloc, "--root", str(args.root or folder)]
                tuned = {"GLIBC_TUNABLES": TUNED} if malloc == "tuned" else {}
                command = [sys.executable, *sys.argv, *own]
                subprocess.run(command, check=True, env=os.environ | tuned)
        return
    torch.set_num_threads(1)
    capability = torch.backends.cpu.get_cpu_capability()
    print(f"malloc: {args.malloc}, torch {torch.__version__}, {capability}")
    measure("(a)", *padded(8000), args.seconds)
    measure("(b)", *simulated(args.root, args.events), args.seconds)


if __name__ == "__main__":
    main()
