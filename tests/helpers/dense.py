"""Ragged toy tracks, and pooling written from the document's formulas over a dense mask."""

from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from headsweep.config import PoolingConfig

F, D = 5, 4


def ragged(lengths: list[int], seed: int = 0) -> SimpleNamespace:
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    return SimpleNamespace(
        raw=rng.normal(size=(n, F)).astype(np.float32),
        encoded=rng.normal(size=(n, D)).astype(np.float32),
        p=rng.uniform(0.1, 1, n).astype(np.float32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        query=rng.normal(size=(len(lengths), D)).astype(np.float32),
    )


def dense(
    config: PoolingConfig, params: dict[str, Tensor], split: SimpleNamespace, dtype: torch.dtype
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
                h = a * torch.sigmoid(a) * b
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
