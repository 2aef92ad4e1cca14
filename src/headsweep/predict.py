"""Saved weights applied to frozen features: the only way anything is scored after training."""

import json
from functools import lru_cache
from pathlib import Path

import torch
import yaml

from headsweep import features
from headsweep.build import population_builder
from headsweep.config import TargetConfig
from headsweep.metrics import Tracks
from headsweep.store import load_weights
from headsweep.targets import Target
from headsweep.train import Split, losses

Loss = float


@lru_cache(maxsize=4)
def _prepared(
    root: Path, cache_key: str, name: str, target: tuple[str, bool]
) -> tuple[Split, Target]:
    """One split and the target standardised on training; kept, for the next member needs them."""
    cache = features.load(root, cache_key)
    train = cache.load("train")
    fitted = Target.fit(TargetConfig(*target), train.truth, train.axis)
    return Split.of(cache.load(name), fitted), fitted


def score(
    job_folder: Path,
    seed: int,
    split: str,
    root: Path,
    weights: str = "head",
    limit: int | None = None,
) -> tuple[Tracks, Loss]:
    """Predictions and loss of one finished member on a split.

    Args:
        job_folder: The folder of its job.
        seed: The member.
        split: ``train``, ``val``, ``dev`` or ``test``.
        root: The folder of all output, which has the cache.
        weights: ``head`` for the kept weights, ``last`` for those of the last step.
        limit: Score the first so many tracks only.

    Returns:
        The scored tracks with their predictions, and the mean loss on them.
    """
    config = yaml.safe_load((job_folder / "config.yaml").read_text())
    cache_key = json.loads((job_folder / "job.json").read_text())["cache_key"]
    key = (config["target"]["name"], config["target"]["relative"])
    data, target = _prepared(root, cache_key, split, key)
    inputs, dim = data.hits.raw.shape[1], data.hits.query.shape[1]
    population = population_builder(config, inputs, dim, target.outputs)([seed])
    population.load([load_weights(job_folder / f"seed_{seed}" / f"{weights}.safetensors")])
    outputs = population.predict(data.hits, torch.arange(len(data))[:limit])
    return data.tracks(target, outputs[0]), float(losses(outputs, data.targets[None, :limit])[0])
