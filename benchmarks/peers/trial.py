"""One trial as a user of a general tuner would write it, with this project's own fast step.

The tuner gives a preset and a seed; the trial reads the cached features, trains one member and
returns its r68 on validation.
"""

import logging
from collections.abc import Sequence
from typing import Any


def inputs(overrides: Sequence[str], preset: str, seed: int) -> tuple[Any, ...]:
    """Job, frozen training features, both splits and the loss of one member.

    Args:
        overrides: Those of the comparison, with ``root``, below which the features are cached.
        preset: Name of the head.
        seed: Of the member.
    """
    from headsweep.sweep.inputs import build_features, find_inputs
    from headsweep.sweep.plan import make_plan
    from headsweep.training.loop import Split
    from headsweep.training.loss import Loss

    logging.disable(logging.WARNING)
    words = [*overrides, f"head={preset}", f"seed={seed}", "seeds=1"]
    [job] = make_plan(words, multirun=False).jobs
    features = build_features(job, find_inputs(job))
    frozen = features.load("train")
    loss = Loss.fit(job.resolved, frozen.truth, frozen.axis)
    train, val = (Split.of(features.load(name), loss.target) for name in ("train", "val"))
    return job, frozen, train, val, loss


def train_one(overrides: Sequence[str], preset: str, seed: int) -> float:
    """Train one member, and give the r68 of q/pT of its best weights on validation."""
    import torch

    from headsweep.training.builder import population_builder
    from headsweep.training.loop import fit
    from headsweep.training.recipe import Recipe

    torch.set_num_threads(1)
    job, frozen, train, val, loss = inputs(overrides, preset, seed)
    size = (frozen.raw.shape[1], frozen.query.shape[1], loss.outputs)
    build = population_builder(job.resolved, *size)
    recipe = Recipe([seed], loss, job.config.optim, dropout=job.resolved["head"]["dropout"])
    [(_, [result])] = fit(build, [recipe], train, val)
    return result.metrics["val_qoverpt_r68"]
