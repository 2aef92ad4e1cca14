"""True parameter counts, taken from the built modules."""

from torch import nn

from headsweep.config import PoolingConfig
from headsweep.pooling import aggregated_dim
from headsweep.population import Member


def count(module: nn.Module | None) -> int:
    """Trained numbers of a module: weights, biases and LayerNorm."""
    return sum(p.numel() for p in module.parameters()) if module is not None else 0


def parameter_counts(member: Member, pooling: PoolingConfig, dim: int) -> dict[str, int]:
    """Counts of one member by component, and the length of the vector its head reads.

    Args:
        member: The built member.
        pooling: Its pooling.
        dim: Width of the frozen transformer, D.
    """
    return {
        "raw_projection": count(member.raw),
        "encoded_projection": count(member.encoded),
        "head": count(member.head),
        "total": count(member),
        "aggregated_dim": aggregated_dim(pooling, dim),
    }
