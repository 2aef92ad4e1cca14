"""Builders of members and populations from a resolved configuration.

Torch is imported inside the functions: a sweep command whose caches exist does not need it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headsweep.config import PoolingConfig
from headsweep.errors import UserError
from headsweep.instantiate import make

if TYPE_CHECKING:
    from torch import nn

    from headsweep.training.members import Member, Population


def member_builder(
    config: Mapping[str, Any], inputs: int, dim: int, outputs: int
) -> "Callable[[], Member]":
    """Return a function that builds one member with fresh weights.

    Args:
        config: The resolved configuration (its ``pooling``, ``head`` and ``target`` are read).
        inputs: Number of raw hit features, F.
        dim: Width of the frozen transformer, D.
        outputs: Number of outputs, O.
    """
    import torch

    from headsweep.training.members import build_member
    from headsweep.training.targets import estimate_dim

    def head(in_dim: int, out_dim: int) -> "nn.Module":
        node = config["head"]
        try:
            built: nn.Module = make(node, in_dim, out_dim)
            with torch.no_grad():
                shape = built.eval()(torch.zeros(2, in_dim)).shape
        except (TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"head: {node['_target_']} does not work: {error}") from error
        if shape != (2, out_dim):
            raise UserError(
                f"head: {node['_target_']} gives {list(shape)} for [2, {in_dim}], "
                f"not {[2, out_dim]}"
            )
        return built.train()

    pooling, estimate = PoolingConfig(**config["pooling"]), estimate_dim(config)
    return lambda: build_member(pooling, inputs, dim, outputs, head, estimate)


def population_builder(
    config: Mapping[str, Any], inputs: int, dim: int, outputs: int, device: str = "cpu"
) -> "Callable[[Sequence[int]], Population]":
    """Return a function from seeds to a population; arguments as for ``member_builder``."""
    from headsweep.training.members import Population

    member = member_builder(config, inputs, dim, outputs)
    pooling = PoolingConfig(**config["pooling"])
    return lambda seeds: Population(member, pooling, seeds, device)
