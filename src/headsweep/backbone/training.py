"""Training of a hit transformer for hit assignment and track validity, and its quality."""

import math
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

from headsweep.backbone.base import Backbone, Progress, assign, truth_masks
from headsweep.backbone.matching import mask_cost
from headsweep.backbone.transformer import (
    Architecture,
    HitTransformer,
    Output,
    check_output,
    pad,
    save,
)
from headsweep.config import SplitConfig
from headsweep.errors import UserError
from headsweep.events.base import Events, splits_of, track_hashes
from headsweep.events.spool import mapped, taken

BATCH = 64
RATE = 3e-3
WARM_UP = 0.05
"""Share of the steps in which the rate rises; then it falls as a cosine."""
WEIGHT_DECAY = 1e-4
CLIP = 1.0
NOISE_WEIGHT = 12.0
"""Weight of noise in the cross-entropy: delta rays look like true hits, and at the low threshold
of the assignment an honest probability would let nearly all of them in."""
POOL = 8
"""Batches that are drawn together and cut by length, which saves padding."""


def fit_backbone(
    events: Events,
    *,
    steps: int,
    seed: int,
    queries: int,
    progress: Progress | None = None,
) -> HitTransformer:
    """Train a transformer; the same events, seed and thread count give the same weights.

    Loss: binary cross-entropy and dice of the masks and cross-entropy of the validity, with the
    queries matched optimally to the true tracks, summed over the output of every decoder layer.

    Args:
        events: Training events.
        steps: Batches of ``BATCH`` events.
        seed: Of the weights and of the batch order.
        queries: N; at least the most tracks of any event.
        progress: Called with the loss and the share that is done.

    Returns:
        The frozen transformer, without facts.

    Raises:
        UserError: It diverges.
    """
    n_tracks_of = np.diff(events.track_offsets)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = HitTransformer(Architecture(events.features, queries))
    if events.scratch is None:
        inputs = model.prepare(events)
    else:
        inputs = mapped((model.prepare(part) for _, part in events.blocks()), events.scratch)
    model.set_scale(inputs)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step / steps))
    batches = _batches(np.diff(events.hit_offsets), np.random.default_rng(seed))
    for step, chosen in enumerate(islice(batches, steps)):
        padded, present = pad(inputs, events.hit_offsets, chosen)
        truth, n_tracks = _truth(events, chosen, padded.shape[1]), n_tracks_of[chosen]
        _, outputs = model(padded, present)
        if not all(part.isfinite().all() for o in outputs for part in (o.assignment, o.validity)):
            raise UserError(
                f"backbone: its output is not finite at step {step + 1}; look at the hit features "
                "with `headsweep data inspect`, or try another --seed"
            )
        loss = torch.stack([_loss(output, truth, n_tracks) for output in outputs]).sum()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimiser.step()
        schedule.step()
        if progress:
            progress(f"backbone, loss {loss.item():.3f}", (step + 1) / steps)
    return model.freeze()


def assignment_quality(backbone: Backbone, events: Events, threshold: float) -> tuple[float, float]:
    """Hit-weighted purity and efficiency of the assignment, background included.

    Args:
        backbone: The backbone that assigns.
        events: Events it was not trained on.
        threshold: A hit is assigned where p is at least this.

    Returns:
        The share of the assigned hits that truly belong to their track, and the share of the
        hits of all true tracks that are assigned to it; tracks that are not found count.
    """
    assigned = correct = true = 0
    for _, part in events.blocks():
        true += int((part.hit_track >= 0).sum())
        for batch in backbone.run(part):
            found = assign(part, batch, threshold)
            assigned += len(found.correct)
            correct += int(found.correct.sum())
    return correct / max(assigned, 1), correct / max(true, 1)


def train_checkpoint(
    events: Events,
    data_key: str,
    split: SplitConfig,
    path: Path,
    *,
    steps: int,
    seed: int,
    threshold: float,
    command: str,
    progress: Progress | None = None,
) -> HitTransformer:
    """Train on the training split of events, measure on validation, write a checkpoint.

    Args:
        events: All events of a source, as ``features.truth_check.load_events`` gives them.
        data_key: Key of the source.
        split: How they are split.
        path: The checkpoint to write.
        steps: Batches of ``BATCH`` events.
        seed: Of the weights and of the batch order.
        threshold: Of the measured purity and efficiency.
        command: The command that makes this checkpoint again; kept in it.
        progress: Called with the loss and the share that is done.

    Raises:
        UserError: The hit features lack a position, or the training diverges.
    """
    indices = splits_of(events, split)
    train, val = taken(events, indices["train"]), taken(events, indices["val"])
    queries = int(np.diff(events.track_offsets).max())
    model = fit_backbone(train, steps=steps, seed=seed, queries=queries, progress=progress)
    purity, efficiency = assignment_quality(model, val, threshold)
    model.seen = track_hashes(train.tracks)
    model.facts = {
        "command": command,
        "data_key": data_key,
        "split": asdict(split),
        "training_events": len(train),
        "validation_events": len(val),
        "threshold": threshold,
        "purity": round(purity, 4),
        "efficiency": round(efficiency, 4),
    }
    check_output(model, "backbone")
    save(model, path)
    return model


def _batches(lengths: NDArray[np.int64], rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Yield batches of event indices without end, each epoch in another order."""
    while True:
        order = rng.permutation(len(lengths))
        for start in range(0, len(order), POOL * BATCH):
            pool = order[start : start + POOL * BATCH]
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            batches = np.array_split(pool, max(1, round(len(pool) / BATCH)))
            yield from (batches[i] for i in rng.permutation(len(batches)))


def _rate(done: float) -> float:
    """Share of the highest rate after a share of the steps: a linear rise and a cosine."""
    return min(0.02 + done / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * done))


def _loss(output: Output, truth: NDArray[np.bool_], n_tracks: NDArray[np.int64]) -> Tensor:
    """Mask and validity losses of one output under its own best match; truth is [E, T, M]."""
    cost = mask_cost(output.assignment.detach().sigmoid().numpy(), truth)
    pairs = [linear_sum_assignment(c[:n]) for c, n in zip(cost, n_tracks, strict=True)]
    event = np.repeat(np.arange(len(pairs)), [len(track) for track, _ in pairs])
    track, query = (np.concatenate(side) for side in zip(*pairs, strict=True))

    logits = output.assignment[event, query]
    target = torch.from_numpy(truth[event, track]).float()
    weight = torch.where(target > 0, 1.0, NOISE_WEIGHT)
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, target, weight)
    p = logits.sigmoid()
    overlap, total = (p * target).sum(-1), (p + target).sum(-1)
    dice = (1 - (2 * overlap + 1) / (total + 1)).mean()
    is_track = torch.zeros_like(output.validity)
    is_track[event, query] = 1
    validity = functional.binary_cross_entropy_with_logits(output.validity, is_track)
    return cross_entropy + dice + validity


def _truth(events: Events, chosen: NDArray[np.int64], width: int) -> NDArray[np.bool_]:
    """Masks of the true tracks of the chosen events, padded, bool [E, T, M]."""
    masks = [truth_masks(events, event) for event in chosen]
    truth = np.zeros((len(chosen), max(len(m) for m in masks), width), dtype=bool)
    for row, mask in zip(truth, masks, strict=True):
        row[: mask.shape[0], : mask.shape[1]] = mask
    return truth
