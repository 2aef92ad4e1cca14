"""Multi-layer perceptron, the default regression head."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headsweep.heads.base import Dropout


class MLPHead(nn.Sequential):
    """Blocks of Linear, ReLU, LayerNorm, Dropout, then a Linear to the outputs.

    ``regression_num_layers`` counts every linear layer: 1 is the direct projection, without
    hidden layer, activation or dropout. Layers are numbered as upstream numbers them, so that
    weights carry over by name.

    Args:
        in_dim: Length of the pooled vector, A.
        out_dim: Number of outputs.
        regression_hidden_dim: Width of the hidden layers; None means ``in_dim // 2``.
        regression_num_layers: Number of linear layers, at least 1.
        dropout: Probability after each hidden layer, in [0, 1).
        layer_norm: Without it an Identity stands there, so that the numbers stay.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        regression_hidden_dim: int | None,
        regression_num_layers: int,
        dropout: float,
        layer_norm: bool,
    ) -> None:
        hidden = in_dim // 2 if regression_hidden_dim is None else regression_hidden_dim
        layers: list[nn.Module] = []
        width = in_dim
        for _ in range(regression_num_layers - 1):
            layers += [
                nn.Linear(width, hidden),
                nn.ReLU(),
                nn.LayerNorm(hidden) if layer_norm else nn.Identity(),
                nn.Dropout(dropout),
            ]
            width = hidden
        super().__init__(*layers, nn.Linear(width, out_dim))

    def stacked(self, params: Mapping[str, Tensor], x: Tensor, dropout: Dropout) -> Tensor:
        """Run K members at once, see ``heads.base.StackedHead``."""
        for index, layer in enumerate(self):
            if isinstance(layer, nn.Linear):
                bias = params[f"{index}.bias"].unsqueeze(1)
                x = torch.baddbmm(bias, x, params[f"{index}.weight"].mT)
            elif isinstance(layer, nn.LayerNorm):
                scale = params[f"{index}.weight"].unsqueeze(1)
                normal = F.layer_norm(x, layer.normalized_shape, eps=layer.eps)
                x = torch.addcmul(params[f"{index}.bias"].unsqueeze(1), normal, scale)
            elif isinstance(layer, nn.Dropout):
                x = dropout(x, layer.p)
            else:
                x = layer(x)
        return x
