"""The loss of a training: from the outputs of K heads and their targets to one number each.

A head has one output for each of the target, its point predictions; they come first. There follow,
with the loss ``gaussian``, a log variance for each that is regressed; with ``quantile`` a lower
quantile for each and an upper one for each.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from headsweep.config import LossConfig, TargetConfig
from headsweep.features.cache import ColumnScale
from headsweep.stats.tracks import Array, Tracks
from headsweep.training.members import ROW_ALIGNMENT
from headsweep.training.targets import Target

VALUES = {"smooth_l1": 1, "gaussian": 2, "quantile": 3}
"""Outputs of a head for each regressed output of the target."""

QUANTILES = (0.1587, 0.5, 0.8413)
"""A normal distribution's mean less and plus a standard deviation, and its median in between."""

LARGEST_LOG_VARIANCE = 20.0
"""Log variances beyond +- this would overflow; a deviation is 5e-5 to 2e4 of a target's."""


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
        return self.target.outputs + (VALUES[self.config.name] - 1) * self.regressed

    @property
    def regressed(self) -> int:
        """Number of the target's first outputs that are regressed, R; others are classified."""
        return self.target.outputs - (self.config.charge == "bce")

    @cached_property
    def plain_beta(self) -> float | None:
        """``loss.beta`` of a SmoothL1 of all outputs that weighs and scales them alike, or None."""
        alike = len({*self._each(self.config.weights)}) == 1
        plain = self.config.name == "smooth_l1" and self.regressed == self.target.outputs
        unscaled = {*self._each(self.config.scale)} == {1.0}
        return self.config.beta if plain and alike and unscaled else None

    def of_members(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of each member [K]: weighted mean over the target's outputs, then over tracks.

        Args:
            outputs: Outputs of the heads [K, B, O'].
            targets: Encoded targets [K, B, O].
        """
        each = self._of_outputs(outputs, targets)
        weights = self._each(self.config.weights)
        if len({*weights}) == 1:
            return mean(each)
        return ((each * each.new_tensor(weights)).sum(2) / sum(weights)).mean(1)

    def decode(
        self, outputs: NDArray[Any], truth: NDArray[Any], axis: NDArray[Any], event: NDArray[Any]
    ) -> Tracks:
        """Physical predictions beside the truth, with uncertainties where the loss gives them.

        Args:
            outputs: Outputs of a head [T, O'].
            truth: eta, phi, pt, q [T, 4].
            axis: eta and phi of the hits [T, 2].
            event: Event number of each track [T].
        """
        points = outputs[:, : self.target.outputs]
        return self.target.decode(points, truth, axis, event, self._sigma(outputs))

    def scale(self) -> ColumnScale:
        """Mean and standard deviation by which outputs [O'] are in their own units, for exports."""
        mean, std = self.target.mean, self.target.std
        own_mean, own_std = mean[: self.regressed], std[: self.regressed]
        if self.config.name == "gaussian":
            more = [2 * np.log(own_std)], [np.ones_like(own_std)]
        else:
            times = VALUES[self.config.name] - 1
            more = [own_mean] * times, [own_std] * times
        both = np.concatenate([mean, *more[0]]), np.concatenate([std, *more[1]])
        return ColumnScale(both[0].tolist(), both[1].tolist())

    def _sigma(self, outputs: NDArray[Any]) -> Array | None:
        """Standard deviation of each regressed output [T, R]; None where the loss gives none."""
        spread = np.asarray(outputs[:, self.target.outputs :], dtype=np.float64)
        if self.config.name == "gaussian":
            return np.exp(spread.clip(-LARGEST_LOG_VARIANCE, LARGEST_LOG_VARIANCE) / 2)
        if self.config.name == "quantile":
            low, high = np.split(spread, 2, axis=1)
            return np.abs(high - low) / 2
        return None

    def _each(self, values: object) -> list[float]:
        """Value of each output of the target [O], from one by what it stands for."""
        return [getattr(values, name) for name in self.target.quantities]

    def _of_outputs(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of each output of the target [K, B, O]."""
        r, o = self.regressed, self.target.outputs
        regression = {"smooth_l1": self._smooth_l1, "gaussian": _gaussian, "quantile": _quantile}
        each = regression[self.config.name](outputs[..., :r], outputs[..., o:], targets[..., :r])
        if r == o:
            return each
        # -ln p of the true charge, which is +-1, at p = sigmoid(+-output).
        entropy = _by_member(F.softplus, -targets[..., r:] * outputs[..., r:o])
        return torch.cat([each, entropy], dim=2)

    def _smooth_l1(self, points: Tensor, _: Tensor, targets: Tensor) -> Tensor:
        """SmoothL1 of the scaled error of each regressed output [K, B, R]."""
        scale = self._each(self.config.scale)[: points.shape[-1]]
        if {*scale} != {1.0}:
            factors = points.new_tensor(scale)
            points, targets = points * factors, targets * factors
        return F.smooth_l1_loss(points, targets, reduction="none", beta=self.config.beta)


class Losses:
    """The losses of K members, which share a target.

    Args:
        each: That of each member [K].
    """

    def __init__(self, each: Sequence[Loss]) -> None:
        self.each = [*each]
        self.plain_beta = self._plain_beta()

    def of_members(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """As ``Loss.of_members``; neighbours with the same loss are taken together."""
        found, first = [], 0
        for _, group in groupby(self.each, key=lambda loss: loss.config):
            losses = [*group]
            members = slice(first, first + len(losses))
            found.append(losses[0].of_members(outputs[members], targets[members]))
            first = members.stop
        return torch.cat(found) if len(found) > 1 else found[0]

    def keep(self, alive: Sequence[int]) -> None:
        """Keep the members at these places."""
        self.each = [self.each[k] for k in alive]
        self.plain_beta = self._plain_beta()

    def _plain_beta(self) -> float | None:
        """That of ``Loss``, where it is the same of all members."""
        each = {loss.plain_beta for loss in self.each}
        return each.pop() if len(each) == 1 else None


def mean(each: Tensor) -> Tensor:
    """Mean [K] over the outputs, then over the tracks, of losses [K, B, O]."""
    return each.mean(2).mean(1)


def _gaussian(means: Tensor, spread: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood of a normal distribution, less its constant (Nix and Weigend, 1994).

    Args:
        means: [K, B, R].
        spread: Their log variances [K, B, R].
        targets: [K, B, R].
    """
    limited = spread.clamp(-LARGEST_LOG_VARIANCE, LARGEST_LOG_VARIANCE)
    log_variance = spread + (limited - spread).detach()  # beyond a limit the gradient leads back
    return 0.5 * (log_variance + (means - targets).square() * _by_member(torch.exp, -log_variance))


def _quantile(medians: Tensor, spread: Tensor, targets: Tensor) -> Tensor:
    """Pinball loss, mean over ``QUANTILES`` (Koenker and Bassett, 1978).

    Args:
        medians: [K, B, R].
        spread: Lower, then upper quantiles [K, B, 2R].
        targets: [K, B, R].
    """
    low, high = spread.chunk(2, dim=2)
    parts = []
    for at, values in zip(QUANTILES, (low, medians, high), strict=True):
        error = targets - values
        parts.append(torch.maximum(at * error, (at - 1) * error))
    return (parts[0] + parts[1] + parts[2]) / len(QUANTILES)


def _by_member(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A function of every entry [K, B, ..], which of a member does not depend on its neighbours.

    Entries that fill no vector instruction are rounded otherwise. So every member's are padded.
    """
    rows = x.flatten(1)
    n = rows.shape[1]
    return function(F.pad(rows, (0, -n % ROW_ALIGNMENT)))[:, :n].reshape(x.shape)
