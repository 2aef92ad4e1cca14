"""Numbers and files that the real hepattn produced, and its inputs as features of ours."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from headsweep.config import PoolingConfig
from headsweep.features.cache import Features
from headsweep.heads.mlp import MLPHead
from headsweep.training.members import Member, Population, build_member
from headsweep.training.pooling import pool, to_hits

UPSTREAM = Path(__file__).parents[3] / "shared/data/upstream"
NEEDS_UPSTREAM = pytest.mark.skipif(not UPSTREAM.is_dir(), reason=f"no golden files at {UPSTREAM}")

SWIGLU = PoolingConfig(projection="mlp", activation="swiglu")
"""The pooling of hepattn's task."""


def golden(name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description and the tensors of ``golden_head`` or ``frozen_events``."""
    about: dict[str, Any] = json.loads((UPSTREAM / f"{name}.json").read_text())
    return about, load_file(UPSTREAM / f"{name}.safetensors")


def group(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def features_of(
    hit_fields: Tensor,
    hit_embed: Tensor,
    query_embed: Tensor,
    logit: Tensor,
    valid: Tensor,
    threshold: float,
) -> Features:
    """Every query of padded events as a track with its hits, nothing standardised.

    Args:
        hit_fields: Raw hits [B, M, F].
        hit_embed: Encoded hits [B, M, D].
        query_embed: Queries [B, N, D].
        logit: Of hit m for query n [B, N, M].
        valid: False for padding [B, M].
        threshold: Least p of an assigned hit.
    """
    p = torch.sigmoid(logit)
    chosen = (p >= threshold) & valid[:, None, :]
    event, query, hit = torch.nonzero(chosen, as_tuple=True)
    tracks = chosen.shape[0] * chosen.shape[1]
    nothing = np.zeros((tracks, 4), np.float32)
    counts = chosen.sum(-1).flatten()
    return Features(
        raw=hit_fields[event, hit].numpy(),
        encoded=hit_embed[event, hit].numpy(),
        p=p[event, query, hit].numpy(),
        offsets=np.concatenate([[0], np.cumsum(counts.numpy())]),
        query=query_embed.flatten(0, 1).numpy(),
        truth=nothing,
        event=np.repeat(np.arange(chosen.shape[0]), chosen.shape[1]),
        axis=nothing[:, :2],
        analytic=nothing,
        classical=nothing,
    )


def population(
    pooling: PoolingConfig, inputs: int, dim: int, hidden: int, layers: int, outputs: int = 4
) -> Population:
    def build() -> Member:
        return build_member(
            pooling, inputs, dim, outputs, lambda a, o: MLPHead(a, o, hidden, layers, 0.1, True)
        )

    return Population(build, pooling, [0])


def run(members: Population, features: Features) -> tuple[Tensor, Tensor]:
    """Pooled vectors [T, A] and outputs [T, O] of the only member."""
    hits = to_hits(features)
    rows = torch.arange(len(features))
    params = members.named(members.weights.detach())
    return pool(members.config, params, hits, rows[None])[0], members.predict(hits, rows)[0]
