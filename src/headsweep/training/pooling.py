"""Ragged weighted pooling: from the hits assigned to a track to one vector per track.

Weighted averages and sums commute with a linear projection, so their hits are summed once, before
training. Only the maximum and the minimum need every hit projected in every step; a compiled
kernel does that without storing the projected hits, and its gradient touches only the two hits
per output that won.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headsweep.config import PoolingConfig
from headsweep.events.mapped import forget
from headsweep.features.cache import Features, chunks
from headsweep.heads.dense import DenseHead, SwiGLU, run_stacked
from headsweep.training import kernels

MIN_WEIGHT = 1e-8
"""Smallest sum of weights that an average is divided by."""


@dataclass(frozen=True)
class Hits:
    """One split on a device: T tracks with H assigned hits in all.

    Attributes:
        raw: Raw hit features [H, F].
        encoded: Encoded hit features [H, D].
        p: Assignment probability of each hit [H].
        offsets: Hits of track t are rows ``offsets[t]:offsets[t + 1]``, int64 [T+1].
        query: Query embedding of each track [T, D].
        weight: Sum of p over a track's hits [T].
        raw_sum: Sum of p times raw [T, F].
        encoded_sum: Sum of p times encoded [T, D].
        estimate: The analytic estimate of each track, ``Target.encode_estimate`` [T, E]; None where
            no head reads it.
    """

    raw: Tensor
    encoded: Tensor
    p: Tensor
    offsets: Tensor
    query: Tensor
    weight: Tensor
    raw_sum: Tensor
    encoded_sum: Tensor
    estimate: Tensor | None = None

    def __len__(self) -> int:
        return len(self.query)


def to_hits(split: Features, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Hits:
    """Bring one split of frozen features to a device and sum its weighted hits once.

    On the CPU the hits stay where they are, in memory or in the files that they are mapped from.
    """

    def tensor(values: NDArray[Any]) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(values), dtype=dtype, device=device)

    def sums(values: NDArray[Any]) -> Tensor:
        total = torch.zeros((len(split.query), values.shape[1]), dtype=dtype)
        for tracks in chunks(len(split.query), share=32):  # a track has some 20 hits
            offsets = split.offsets[tracks.start : tracks.stop + 1]
            hits = slice(offsets[0], offsets[-1])
            own = np.zeros((tracks.stop - tracks.start, values.shape[1]))
            track = np.repeat(np.arange(len(own)), np.diff(offsets))
            np.add.at(own, track, split.p[hits, None].astype(np.float64) * values[hits])
            total[tracks] = torch.from_numpy(own).to(dtype)
            forget(split.p, values)
        return total.to(device)

    return Hits(
        raw=tensor(split.raw),
        encoded=tensor(split.encoded),
        p=tensor(split.p),
        offsets=torch.as_tensor(np.asarray(split.offsets), dtype=torch.int64, device=device),
        query=tensor(split.query),
        weight=sums(np.broadcast_to(np.float32(1), (len(split.p), 1)))[:, 0],
        raw_sum=sums(split.raw),
        encoded_sum=sums(split.encoded),
    )


def aggregated_dim(config: PoolingConfig, dim: int, estimate: int = 0) -> int:
    """Length of the pooled vector: D + 8P by default, and that of an analytic estimate."""
    pooled = (config.raw + config.encoded) * len(config.statistics) * projected_dim(config, dim)
    return config.query * dim + pooled + estimate


def projected_dim(config: PoolingConfig, dim: int) -> int:
    """Width P of a projection: D for ``full``, D // 2 for ``half``."""
    return dim if config.width == "full" else dim // 2


def build_projection(config: PoolingConfig, inputs: int, dim: int) -> nn.Module:
    """Build one projection with fresh weights.

    ``pooling.projection=linear`` is Linear(inputs, P). ``mlp`` is hepattn's ``Dense``, with one
    hidden layer and the activation ``silu`` or ``swiglu``.
    """
    outputs = projected_dim(config, dim)
    if config.projection == "linear":
        return nn.Linear(inputs, outputs)
    return DenseHead(inputs, outputs, config.activation)


def pool(config: PoolingConfig, params: Mapping[str, Tensor], hits: Hits, rows: Tensor) -> Tensor:
    """Pool the hits of a batch of tracks for K members at once.

    Query, then the statistics of the raw projection in the order of ``config.statistics``, then
    those of the encoded one, then the analytic estimate. Parts switched off in ``config`` are left
    out.

    Args:
        config: The projections and statistics.
        params: Stacked weights ``raw.weight`` [K, P, F], ``raw.bias`` [K, P], ``encoded.weight``,
            .. (an MLP projection has ``raw.0.weight``, ..).
        hits: The split.
        rows: Tracks of each member's batch, int64 [K, B].

    Returns:
        [K, B, A] with A = ``aggregated_dim``. A track without hits gets zeros beside its query.
    """
    parts = [hits.query[rows]] if config.query else []
    for name, used in (("raw", config.raw), ("encoded", config.encoded)):
        if used:
            own = {key[len(name) + 1 :]: v for key, v in params.items() if key.startswith(name)}
            on_cpu = rows.device.type == "cpu"
            linear = config.projection == "linear"
            way = (_pool_compiled if linear else _pool_each) if on_cpu else _pool_packed
            pooled = way(config, name, own, hits, rows)
            parts += [pooled[statistic] for statistic in config.statistics]
    if config.analytic:
        assert hits.estimate is not None
        parts.append(hits.estimate[rows])
    return torch.cat(parts, dim=-1)


def _pool_compiled(
    config: PoolingConfig, name: str, params: Mapping[str, Tensor], hits: Hits, rows: Tensor
) -> dict[str, Tensor]:
    """Pool a linear projection on the CPU: sums before projecting, extremes by the kernel."""
    weight, bias = params["weight"], params["bias"]
    x, total = getattr(hits, name), getattr(hits, f"{name}_sum")
    pooled: dict[str, Tensor] = {}
    w = hits.weight[rows].unsqueeze(-1)
    if "avg" in config.statistics or "sum" in config.statistics:
        pooled["sum"] = torch.bmm(total[rows], weight.mT) + w * bias.unsqueeze(1)
        pooled["avg"] = pooled["sum"] / w.clamp_min(MIN_WEIGHT)
    if "max" in config.statistics or "min" in config.statistics:
        pooled["max"], pooled["min"] = _Extremes.apply(  # type: ignore[no-untyped-call]
            weight, bias, x, hits.offsets, rows
        )
    return pooled


def _pool_each(
    config: PoolingConfig, name: str, params: Mapping[str, Tensor], hits: Hits, rows: Tensor
) -> dict[str, Tensor]:
    """Pool one member after the other, so that each rounds as it does alone.

    A product of matrices rounds by its shape. Together, the shape is that of the member with the
    most hits. On the CPU this is as fast.
    """
    members = [
        _pool_packed(config, name, {n: v[k : k + 1] for n, v in params.items()}, hits, own)
        for k, own in enumerate(torch.split(rows, 1))
    ]
    return {key: torch.cat([pooled[key] for pooled in members]) for key in members[0]}


def _pool_packed(
    config: PoolingConfig, name: str, params: Mapping[str, Tensor], hits: Hits, rows: Tensor
) -> dict[str, Tensor]:
    """Pool any projection on any device: the hits of a member's tracks stand one behind the other.

    Members with fewer hits than the one with the most are filled up by a last track, which is
    thrown away.
    """
    members, batch = rows.shape
    first = hits.offsets[rows]
    counts = hits.offsets[rows + 1] - first
    total = counts.sum(1, keepdim=True)
    longest = int(total.max())
    if longest == 0:
        last_bias = params["bias" if config.projection == "linear" else "2.bias"]
        nothing = hits.p.new_zeros((members, batch, last_bias.shape[1]))
        return dict.fromkeys(config.statistics, nothing)
    lengths = torch.cat([counts, longest - total], dim=1).view(-1)
    starts = torch.cat([first, torch.zeros_like(total)], dim=1).view(-1)
    shift = (starts - lengths.cumsum(0) + lengths).repeat_interleave(lengths)
    index = (shift + torch.arange(len(shift), device=rows.device)).clamp_max(len(hits.p) - 1)
    x = getattr(hits, name)[index].view(members, longest, -1)
    projected = _project(config, params, x).flatten(0, 1)

    def reduce(values: Tensor, how: str) -> Tensor:
        tracks = torch.segment_reduce(values, how, lengths=lengths, unsafe=True)
        return tracks.view(members, batch + 1, -1)[:, :-1]

    weighted = reduce(hits.p[index].unsqueeze(1) * projected, "sum")
    average = weighted / hits.weight[rows].unsqueeze(-1).clamp_min(MIN_WEIGHT)
    empty = (counts == 0).unsqueeze(-1)
    highest, lowest = (reduce(projected, how).masked_fill(empty, 0) for how in ("max", "min"))
    return {"avg": average, "sum": weighted, "max": highest, "min": lowest}


def _project(config: PoolingConfig, params: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Project hits [K, N, F] to [K, N, P], each member with its own weights."""
    if config.projection == "linear":
        return torch.baddbmm(params["bias"].unsqueeze(1), x, params["weight"].mT)
    return run_stacked(nn.SiLU() if config.activation == "silu" else SwiGLU(), params, x)


class _Extremes(torch.autograd.Function):
    """Maximum and minimum over a track's hits of a linear projection of them."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, bias: Tensor, x: Tensor, offsets: Tensor, rows: Tensor
    ) -> tuple[Tensor, Tensor]:
        outputs = weight.shape[1]
        both = x.new_empty((*rows.shape, 2 * outputs))
        at = rows.new_empty((2, *rows.shape, outputs), dtype=torch.int32)
        kernels.extremes(
            x.numpy(),
            weight.detach().mT.contiguous().numpy(),
            bias.detach().contiguous().numpy(),
            offsets.numpy(),
            rows.numpy(),
            both.numpy(),
            np.array([0, outputs]),
            at.numpy(),
        )
        ctx.save_for_backward(x, at)
        return both[..., :outputs], both[..., outputs:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, at = ctx.saved_tensors
        _, members, _, outputs = at.shape
        grad_weight = x.new_zeros((members, outputs, x.shape[1]))
        grad_bias = x.new_zeros((members, outputs))
        kernels.extremes_backward(
            x.numpy(),
            torch.cat(grads, dim=-1).numpy(),
            np.array([0, outputs]),
            at.numpy(),
            grad_weight.numpy(),
            grad_bias.numpy(),
        )
        return grad_weight, grad_bias, None, None, None
