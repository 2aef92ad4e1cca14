"""One trial as a user of a general tuner would write it, with this project's own fast step.

The tuner gives a preset and a seed; the trial reads the cached features, trains one member and
returns its r68 on validation. All of headsweep is imported once in each process.
"""

import logging
from collections.abc import Sequence
from typing import Any


def train_one(overrides: Sequence[str], preset: str, seed: int) -> float:
    """Train one member, and give the r68 of q/pT of its best weights on validation.

    Args:
        overrides: Those of the comparison, with ``root``, below which the features are cached.
        preset: Name of the head.
        seed: Of the member.
    """
    import torch

    from headsweep.sweep.inputs import build_features, find_inputs
    from headsweep.sweep.plan import make_plan
    from headsweep.training.builder import population_builder
    from headsweep.training.loop import Split, fit
    from headsweep.training.loss import Loss

    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    words = [*overrides, f"head={preset}", f"seed={seed}", "seeds=1"]
    [job] = make_plan(words, multirun=False).jobs
    features = build_features(job, find_inputs(job))
    frozen = features.load("train")
    loss = Loss.fit(job.resolved, frozen.truth, frozen.axis)
    train, val = (Split.of(features.load(name), loss.target) for name in ("train", "val"))
    size = (frozen.raw.shape[1], features.meta.dim, loss.outputs)
    [result] = fit(
        population_builder(job.resolved, *size), [seed], train, val, loss, job.config.optim
    )
    return result.metrics["val_qoverpt_r68"]


def grid(presets: Sequence[str], seeds: int) -> list[dict[str, Any]]:
    """Every preset with every seed."""
    return [{"preset": preset, "seed": seed} for preset in presets for seed in range(seeds)]
