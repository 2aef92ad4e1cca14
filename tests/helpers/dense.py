"""Ragged toy tracks, and pooling written from the document's formulas over a dense mask."""

import numpy as np
import torch
from torch import Tensor

from headsweep.config import PoolingConfig
from headsweep.features.cache import Features

F, D = 5, 4


def ragged(lengths: list[int], seed: int = 0, inputs: int = F, dim: int = D) -> Features:
    """Random tracks with the given numbers of hits; their truth is zero."""
    rng = np.random.default_rng(seed)
    n, n_tracks = sum(lengths), len(lengths)
    nothing = np.zeros((n_tracks, 4), np.float32)
    return Features(
        raw=rng.normal(size=(n, inputs)).astype(np.float32),
        encoded=rng.normal(size=(n, dim)).astype(np.float32),
        p=rng.uniform(0.1, 1, n).astype(np.float32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        query=rng.normal(size=(n_tracks, dim)).astype(np.float32),
        truth=nothing,
        event=np.arange(n_tracks),
        axis=nothing[:, :2],
        analytic=nothing,
        classical=nothing,
    )


def dense(
    config: PoolingConfig, params: dict[str, Tensor], split: Features, dtype: torch.dtype
) -> Tensor:
    """One member: every formula written over a dense [T, M] mask, as upstream does."""
    T, M = len(split.query), len(split.p)
    mask = torch.zeros((T, M), dtype=torch.bool)
    for t in range(T):
        mask[t, split.offsets[t] : split.offsets[t + 1]] = True
    p = torch.tensor(split.p, dtype=dtype) * mask
    parts = [torch.tensor(split.query, dtype=dtype)] if config.query else []
    for name, x in (("raw", split.raw), ("encoded", split.encoded)):
        if not getattr(config, name):
            continue
        x = torch.tensor(x, dtype=dtype)
        if config.projection == "linear":
            f = x @ params[f"{name}.weight"].T + params[f"{name}.bias"]
        else:
            h = x @ params[f"{name}.0.weight"].T + params[f"{name}.0.bias"]
            if config.activation == "silu":
                h = h * torch.sigmoid(h)
            else:
                a, b = h.chunk(2, -1)
                h = a * b * torch.sigmoid(b)
            f = h @ params[f"{name}.2.weight"].T + params[f"{name}.2.bias"]
        total = p @ f
        dense_f = f.expand(T, *f.shape)
        if M == 0:  # amax has no value for nothing: one masked hit stands in
            mask, dense_f = torch.zeros((T, 1), dtype=torch.bool), f.new_zeros((T, 1, f.shape[1]))
        any_hit = mask.any(1, keepdim=True)
        high = torch.where(mask[..., None], dense_f, -torch.inf).amax(1)
        low = torch.where(mask[..., None], dense_f, torch.inf).amin(1)
        zero = torch.zeros(())
        values = {
            "avg": total / p.sum(1, keepdim=True).clamp_min(1e-8),
            "sum": total,
            "max": torch.where(any_hit, high, zero.to(dtype)),
            "min": torch.where(any_hit, low, zero.to(dtype)),
        }
        parts += [values[s] for s in config.statistics]
    return torch.cat(parts, -1)
