"""Weights of a head under the names of hepattn's task, with all standardisation folded in.

hepattn's ``WeightedPoolingObjectHitRegressionTask`` has two projections with a hidden layer
(``pooling.projection=mlp``) and a head whose layers are numbered as ours are. Its inputs and
outputs are not standardised: a layer y = W x + b of ours on x = (v - mean) / std is the layer
W / std, b - W mean / std on v.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from headsweep.errors import UserError
from headsweep.features.cache import ColumnScale

NAMES = {
    "raw.": "raw_hit_net.net.",
    "encoded.": "encoded_hit_net.net.",
    "head.": "regression_head.",
}
"""Beginnings of the names of our weights, and of hepattn's."""


def to_hepattn(weights: Mapping[str, Tensor], dense: bool = False) -> dict[str, Tensor]:
    """Weights of a member under the names of hepattn's task.

    Args:
        weights: Under our names.
        dense: True for ``head=dense``, whose layers stand below ``net``.
    """
    names = NAMES | ({"head.": "regression_head.net."} if dense else {})
    return {_renamed(name, names): value for name, value in weights.items()}


def from_hepattn(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of hepattn's task, without the prefix of the model, under our names.

    Raises:
        UserError: A weight has another name than those of the task.
    """
    ours = {theirs: own for own, theirs in NAMES.items()}
    return {_renamed(name, ours): value for name, value in state.items()}


def _renamed(name: str, names: Mapping[str, str]) -> str:
    for old, new in names.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    raise UserError(f"weight {name!r}: no such name in {', '.join(names)}")


def fold(
    weights: Mapping[str, Tensor],
    raw: ColumnScale,
    encoded: ColumnScale,
    query: ColumnScale,
    target: ColumnScale,
    pooled_query: bool = True,
) -> dict[str, Tensor]:
    """Weights that take inputs and give outputs in their own units.

    Computed in float64 and rounded once.

    Args:
        weights: Of a member with ``pooling.projection=mlp`` or ``linear``, and an MLP head, under
            our names.
        raw: Scale of the F raw hit features.
        encoded: Scale of the D encoded hit features.
        query: Scale of the query, which is the first D inputs of the head.
        target: Scale of the O outputs.
        pooled_query: False where the head does not take the query.
    """
    exact = {name: value.to(torch.float64) for name, value in weights.items()}
    for part, scale in (("raw", raw), ("encoded", encoded)):
        first = f"{part}.0" if f"{part}.0.weight" in exact else part
        if f"{first}.weight" in exact:
            _fold_inputs(exact, first, scale)
    if pooled_query:
        _fold_inputs(exact, "head.0", query)
    last = _last_layer(exact)
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in (target.mean, target.std))
    exact[f"{last}.weight"] = exact[f"{last}.weight"] * std[:, None]
    exact[f"{last}.bias"] = exact[f"{last}.bias"] * std + mean
    return {name: value.to(weights[name].dtype) for name, value in exact.items()}


def _fold_inputs(weights: dict[str, Tensor], layer: str, scale: ColumnScale) -> None:
    """Fold the scale of the first inputs of a layer into it."""
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in (scale.mean, scale.std))
    inverse = torch.where(std > 0, 1 / std, 0)  # a constant column was 0
    weight = weights[f"{layer}.weight"].clone()
    weight[:, : len(mean)] *= inverse
    weights[f"{layer}.weight"] = weight
    weights[f"{layer}.bias"] = weights[f"{layer}.bias"] - weight[:, : len(mean)] @ mean


def _last_layer(weights: Mapping[str, Tensor]) -> str:
    """The layer of the head that gives the outputs."""
    numbers = [int(name.split(".")[1]) for name in weights if name.startswith("head.")]
    return f"head.{max(numbers)}"
