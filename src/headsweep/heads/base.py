"""The interface of a regression head, and the run of K heads at once.

A head is any ``nn.Module`` built as ``Head(in_dim, out_dim, **keys of its YAML)`` that maps
[B, in_dim] to [B, out_dim]. A head may also offer ``stacked``, which runs K members in one call;
without it the members run one after another.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.func import functional_call

Dropout = Callable[[Tensor, float], Tensor]
"""Drops entries of a stacked tensor [K, ...] with a probability; each member has its own mask."""


@runtime_checkable
class StackedHead(Protocol):
    """Head with a form for K members at once."""

    def stacked(self, params: Mapping[str, Tensor], x: Tensor, dropout: Dropout) -> Tensor:
        """Run K members.

        Args:
            params: The head's parameters by their ``state_dict`` names, each stacked [K, ...].
            x: Pooled features [K, B, in_dim].
            dropout: To be used in place of ``nn.Dropout``; does nothing in evaluation.

        Returns:
            [K, B, out_dim]
        """
        ...


def run_members(
    head: nn.Module,
    params: Mapping[str, Tensor],
    x: Tensor,
    dropout: Dropout,
    rng_states: Sequence[Tensor],
) -> Tensor:
    """Run K members of ``head``: x [K, B, in] to outputs [K, B, out].

    A head without a stacked form runs member by member, each on its own state of torch's global
    random generator (``rng_states``, updated in place), so that a member's own dropout does not
    depend on its neighbours.
    """
    if isinstance(head, StackedHead):
        return head.stacked(params, x, dropout)
    outputs = []
    with torch.random.fork_rng(devices=[]):
        for k, state in enumerate(rng_states):
            torch.set_rng_state(state)
            own = {name: value[k] for name, value in params.items()}
            outputs.append(functional_call(head, own, (x[k],)))
            state.copy_(torch.get_rng_state())
    return torch.stack(outputs)
