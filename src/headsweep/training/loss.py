"""The loss of a training: from the outputs of K heads and their targets to one number each.

A head has one output for each of the target, its point predictions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from headsweep.config import LossConfig, TargetConfig
from headsweep.stats.tracks import Tracks
from headsweep.training.members import ROW_ALIGNMENT
from headsweep.training.targets import Target


@dataclass(frozen=True)
class Loss:
    """The loss of one configuration, on the scale of its target.

    Attributes:
        config: Its keys.
        target: What the head learns, fitted to the training split.
    """

    config: LossConfig
    target: Target

    @classmethod
    def fit(cls, config: Mapping[str, Any], truth: NDArray[Any], axis: NDArray[Any]) -> "Loss":
        """Fit the target to the training split.

        Args:
            config: A resolved configuration (its ``target`` and ``loss`` are read; one from before
                there was a choice has no ``loss``).
            truth: eta, phi, pT [GeV], q of the training tracks [T, 4].
            axis: eta and phi of the tracks' hits [T, 2], see ``features.cache.Features``.

        Raises:
            UserError: The two do not go together, or the data do not fit the target.
        """
        target, loss = TargetConfig(**config["target"]), LossConfig(**config.get("loss", {}))
        loss.check_target(target)
        return cls(loss, Target.fit(target, truth, axis, logit=loss.charge == "bce"))

    @classmethod
    def unfitted(cls, config: Mapping[str, Any]) -> "Loss":
        """The loss of a resolved configuration without data, for sizes and times."""
        return cls.fit(config, np.ones((2, 4)), np.zeros((2, 2)))

    @property
    def outputs(self) -> int:
        """Number of outputs of the head, O'."""
        return self.target.outputs

    def of_members(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of each member [K]: weighted mean over the target's outputs, then over tracks.

        Args:
            outputs: Outputs of the heads [K, B, O'].
            targets: Encoded targets [K, B, O].
        """
        each = self._of_outputs(outputs, targets)
        weights = self._each(self.config.weights)
        if len({*weights}) == 1:
            return each.mean(2).mean(1)
        return ((each * each.new_tensor(weights)).sum(2) / sum(weights)).mean(1)

    def decode(
        self, outputs: NDArray[Any], truth: NDArray[Any], axis: NDArray[Any], event: NDArray[Any]
    ) -> Tracks:
        """Physical predictions beside the truth.

        Args:
            outputs: Outputs of a head [T, O'].
            truth: eta, phi, pt, q [T, 4].
            axis: eta and phi of the hits [T, 2].
            event: Event number of each track [T].
        """
        return self.target.decode(outputs, truth, axis, event)

    def _each(self, values: object) -> list[float]:
        """Value of each output of the target [O], from one by what it stands for."""
        return [getattr(values, name) for name in self.target.quantities]

    def _of_outputs(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of each output of the target [K, B, O]."""
        if self.config.charge == "regression":
            return self._regression(outputs, targets)
        return torch.cat(
            [
                self._regression(outputs[..., :-1], targets[..., :-1]),
                # -ln p of the true charge, which is +-1, at p = sigmoid(+-output).
                _by_member(F.softplus, -targets[..., -1:] * outputs[..., -1:]),
            ],
            dim=2,
        )

    def _regression(self, points: Tensor, targets: Tensor) -> Tensor:
        """Loss of the first R outputs of the target, which are regressed [K, B, R]."""
        scale = self._each(self.config.scale)[: points.shape[-1]]
        if {*scale} != {1.0}:
            factors = points.new_tensor(scale)
            points, targets = points * factors, targets * factors
        return F.smooth_l1_loss(points, targets, reduction="none", beta=self.config.beta)


def _by_member(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A function of every entry [K, B, ..], which of a member does not depend on its neighbours.

    Entries that fill no vector instruction are rounded otherwise. So every member's are padded.
    """
    rows = x.flatten(1)
    n = rows.shape[1]
    return function(F.pad(rows, (0, -n % ROW_ALIGNMENT)))[:, :n].reshape(x.shape)
