"""Parameter counts and operations of a member, taken from the built modules."""

from torch import nn

from headsweep.config import PoolingConfig
from headsweep.training.members import Member
from headsweep.training.pooling import aggregated_dim


def count(module: nn.Module | None) -> int:
    """Number of trained parameters of a module; 0 for None."""
    return sum(p.numel() for p in module.parameters()) if module is not None else 0


def parameter_counts(
    member: Member, pooling: PoolingConfig, dim: int, estimate: int = 0
) -> dict[str, int]:
    """Parameter counts of one member by component, and the length of its pooled vector.

    Args:
        member: The built member.
        pooling: Its pooling.
        dim: Width of the frozen transformer, D.
        estimate: Length of the analytic estimate, ``targets.estimate_dim``.
    """
    return {
        "raw_projection": count(member.raw),
        "encoded_projection": count(member.encoded),
        "head": count(member.head),
        "total": count(member),
        "aggregated_dim": aggregated_dim(pooling, dim, estimate),
    }


def track_flops(member: Member, hits: float) -> float:
    """Floating-point operations of one prediction: a track with ``hits`` assigned hits.

    2 x weights of every linear layer; those of the projections once for each hit. Biases,
    activations, norms and the pooling itself are left out.
    """
    projections = _weights(member.raw) + _weights(member.encoded)
    return 2.0 * (_weights(member.head) + projections * hits)


def _weights(module: nn.Module | None) -> int:
    """Number of entries of the matrices of all linear layers in a module."""
    parts = module.modules() if module is not None else ()
    return sum(part.weight.numel() for part in parts if isinstance(part, nn.Linear))
