"""One hidden layer of twice the inputs, as hepattn's ``Dense``: a projection, or a head."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headsweep.heads.base import Dropout


class SwiGLU(nn.Module):
    """Gated unit over halves (a, b) of the last axis: a * silu(b), as hepattn has it.

    The second half is the gate: weights that hepattn trained give its numbers here
    (tests/hepattn/test_head_weights.py).
    """

    def forward(self, x: Tensor) -> Tensor:
        """[..., 2n] to [..., n]."""
        value, gate = x.chunk(2, dim=-1)
        return value * F.silu(gate)


class DenseHead(nn.Sequential):
    """Linear to twice the inputs, an activation, Linear to the outputs.

    Args:
        in_dim: Number of inputs.
        out_dim: Number of outputs.
        activation: ``silu`` or ``swiglu``, for which the first layer is twice as wide.
    """

    def __init__(self, in_dim: int, out_dim: int, activation: str) -> None:
        hidden = 2 * in_dim
        gated = activation == "swiglu"
        super().__init__(
            nn.Linear(in_dim, 2 * hidden if gated else hidden),
            SwiGLU() if gated else nn.SiLU(),
            nn.Linear(hidden, out_dim),
        )

    def stacked(self, params: Mapping[str, Tensor], x: Tensor, dropout: Dropout) -> Tensor:
        """Run K members at once, see ``heads.base.StackedHead``; there is no dropout."""
        return run_stacked(self[1], params, x)


def run_stacked(activation: nn.Module, params: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Run K members [K, N, in] to [K, N, out], each with its own weights."""
    hidden = torch.baddbmm(params["0.bias"].unsqueeze(1), x, params["0.weight"].mT)
    return torch.baddbmm(params["2.bias"].unsqueeze(1), activation(hidden), params["2.weight"].mT)
