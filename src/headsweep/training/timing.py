"""Expected training time of a job on this machine, from a few real steps on random hits."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from headsweep.config import OptimConfig
from headsweep.training.loop import Split, update
from headsweep.training.loss import Loss
from headsweep.training.members import AdamW, Batches, Population
from headsweep.training.pooling import Hits

TIMED_STEPS = 5
HITS_PER_TRACK = 20
"""Typical of the simulated spectrometer (true hits of one muon)."""

OVERHEAD = 1.15
"""Factor for the evaluations of the curves and the last scoring."""


def estimate_seconds(
    build: Callable[[Sequence[int]], Population],
    seeds: Sequence[int],
    inputs: int,
    dim: int,
    loss: Loss,
    optim: OptimConfig,
) -> float:
    """Estimate the training time of one job in seconds, without data and cache.

    Args:
        build: Builds the population of given seeds.
        seeds: The members.
        inputs: Number of raw hit features, F.
        dim: Width of the frozen transformer, D.
        loss: What is minimised.
        optim: Budget and batch size.
    """
    tracks = optim.batch_size
    generator = torch.Generator().manual_seed(0)
    n_hits = tracks * HITS_PER_TRACK

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    hits = Hits(
        raw=normal(n_hits, inputs),
        encoded=normal(n_hits, dim),
        p=torch.ones(n_hits),
        offsets=torch.arange(tracks + 1) * HITS_PER_TRACK,
        query=normal(tracks, dim),
        weight=torch.full((tracks,), float(HITS_PER_TRACK)),
        raw_sum=normal(tracks, inputs),
        encoded_sum=normal(tracks, dim),
        estimate=normal(tracks, loss.target.outputs + 1),
    )
    nowhere = np.zeros((tracks, 4))
    targets = normal(tracks, loss.target.outputs)
    data = Split(hits, targets, nowhere, nowhere[:, :2], np.arange(tracks), nowhere)
    population = build(seeds)
    optimiser = AdamW(population.weights, optim.weight_decay)
    batches = Batches(seeds, tracks, tracks)
    times = []
    for _ in range(TIMED_STEPS + 1):
        start = time.perf_counter()
        rates = [optim.lr] * len(seeds)
        update(population, optimiser, data, loss, batches.next(), rates, optim.clip)
        times.append(time.perf_counter() - start)
    # The first step loads the compiled kernel.
    return float(np.median(times[1:])) * optim.steps * OVERHEAD
