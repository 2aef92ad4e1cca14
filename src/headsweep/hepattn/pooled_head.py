"""A trained head in plain torch: one file that needs torch and safetensors alone.

``headsweep export`` puts a copy of this file into its folder, with the weights and ``head.json``:

    from pooled_head import load
    head = load("exported")
    outputs = head(query, hits, encoded, logit, valid)

Inputs are as hepattn has them, in their own units: nothing has to be standardised.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F


class SwiGLU(nn.Module):
    """Gated unit over halves (a, b) of the last axis: a * silu(b)."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., 2n] to [..., n]."""
        value, gate = x.chunk(2, dim=-1)
        return value * F.silu(gate)


class Dense(nn.Module):
    """A linear layer, or one with a hidden layer of twice the inputs before it."""

    def __init__(self, inputs: int, outputs: int, activation: str | None) -> None:
        super().__init__()
        hidden = 2 * inputs
        if activation is None:
            self.net: nn.Module = nn.Linear(inputs, outputs)
        elif activation == "silu":
            self.net = nn.Sequential(
                nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, outputs)
            )
        else:
            self.net = nn.Sequential(
                nn.Linear(inputs, 2 * hidden), SwiGLU(), nn.Linear(hidden, outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] to [..., outputs]."""
        found: Tensor = self.net(x)
        return found


def mlp(inputs: int, outputs: int, layers: int, hidden: int, layer_norm: bool) -> nn.Sequential:
    """The head; its layers have the numbers that hepattn's have."""
    parts: list[nn.Module] = []
    width = inputs
    for _ in range(layers - 1):
        norm = nn.LayerNorm(hidden) if layer_norm else nn.Identity()
        parts += [nn.Linear(width, hidden), nn.ReLU(), norm, nn.Identity()]
        width = hidden
    return nn.Sequential(*parts, nn.Linear(width, outputs))


class PooledHead(nn.Module):
    """Weighted pooling of the hits of each query, and the head.

    Args:
        features: Raw hit features, F.
        dim: Width of queries and encoded hits, D.
        projected: Width of a projection.
        outputs: Number of outputs, O.
        activation: Of the projections, ``silu`` or ``swiglu``; None for one linear layer.
        statistics: Out of avg, sum, max, min, in their order.
        query, raw, encoded: What is pooled.
        threshold: Least p of an assigned hit.
        head: Keys of ``mlp``; or ``activation``, for one gated hidden layer.
    """

    def __init__(
        self,
        features: int,
        dim: int,
        projected: int,
        outputs: int,
        activation: str | None,
        statistics: list[str],
        query: bool,
        raw: bool,
        encoded: bool,
        threshold: float,
        head: dict[str, object],
    ) -> None:
        super().__init__()
        self.statistics, self.threshold, self.query = statistics, threshold, query
        self.raw_hit_net = Dense(features, projected, activation) if raw else None
        self.encoded_hit_net = Dense(dim, projected, activation) if encoded else None
        pooled = query * dim + (raw + encoded) * len(statistics) * projected
        self.regression_head: nn.Module = (
            Dense(pooled, outputs, str(head["activation"]))
            if "activation" in head
            else mlp(pooled, outputs, **head)  # type: ignore[arg-type]
        )

    def forward(
        self, query: Tensor, hits: Tensor, encoded: Tensor, logit: Tensor, valid: Tensor
    ) -> Tensor:
        """Outputs of every query.

        Args:
            query: Queries [B, N, D].
            hits: Raw hit features [B, M, F].
            encoded: Encoded hits [B, M, D].
            logit: Of hit m for query n [B, N, M].
            valid: True for hits, False for padding [B, M].

        Returns:
            [B, N, O]: eta, phi, and what stands for pT and charge, see ``head.json``.
        """
        p = torch.sigmoid(logit)
        chosen = (p >= self.threshold) & valid.unsqueeze(1)
        weight = torch.where(chosen, p, torch.zeros_like(p))
        parts = [query] if self.query else []
        for net, x in ((self.raw_hit_net, hits), (self.encoded_hit_net, encoded)):
            if net is not None:
                # A NaN in padding would be in every sum.
                values = net(torch.where(valid.unsqueeze(-1), x, torch.zeros_like(x)))
                parts += self._pool(values, weight, chosen)
        found: Tensor = self.regression_head(torch.cat(parts, dim=-1))
        return found

    def _pool(self, values: Tensor, weight: Tensor, chosen: Tensor) -> list[Tensor]:
        """Statistics of projected hits [B, M, P], each [B, N, P]; 0 without hits."""
        total = weight @ values
        mask, each = chosen.unsqueeze(-1), values.unsqueeze(1)
        some = chosen.any(dim=-1, keepdim=True)
        highest = torch.where(mask, each, torch.full_like(each, -torch.inf)).amax(dim=2)
        lowest = torch.where(mask, each, torch.full_like(each, torch.inf)).amin(dim=2)
        found = {
            "avg": total / weight.sum(dim=-1, keepdim=True).clamp(min=1e-8),
            "sum": total,
            "max": torch.where(some, highest, torch.zeros_like(highest)),
            "min": torch.where(some, lowest, torch.zeros_like(lowest)),
        }
        return [found[name] for name in self.statistics]


def load(folder: str | Path) -> PooledHead:
    """The head of a folder that ``headsweep export`` wrote, in evaluation mode."""
    about = json.loads((Path(folder) / "head.json").read_text())
    head = PooledHead(**about["arguments"])
    head.load_state_dict(load_file(Path(folder) / "head.safetensors"))
    return head.eval()
