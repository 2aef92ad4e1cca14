"""What a head learns, and how its outputs become physics again."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headsweep.config import TargetConfig
from headsweep.stats.metrics import Array, Tracks, wrap_phi

MIN_PT = 0.1
"""Smallest pT an output is turned into, in GeV."""


@dataclass(frozen=True)
class Target:
    """One parametrisation of (eta, phi, pt, q), standardised on the training split.

    Attributes:
        config: Which one.
        mean: Mean of each output before standardisation [O].
        std: Its standard deviation [O].
        max_pt: Largest pT an output is turned into, in GeV: 5 times the largest of training.
    """

    config: TargetConfig
    mean: Array
    std: Array
    max_pt: float

    @classmethod
    def fit(cls, config: TargetConfig, truth: NDArray[Any], axis: NDArray[Any]) -> "Target":
        """Standardise on the training split.

        Args:
            config: The parametrisation.
            truth: eta, phi, pt [GeV], q of the training tracks [T, 4].
            axis: eta and phi of the tracks' hits [T, 2], see features/cache.py.
        """
        values = _values(config, truth, axis)
        std = values.std(axis=0)
        return cls(
            config=config,
            mean=values.mean(axis=0),
            std=np.where(std > 0, std, 1.0),
            max_pt=5 * float(truth[:, 2].max()),
        )

    @property
    def outputs(self) -> int:
        """Number of outputs, O."""
        return len(self.mean)

    def encode(self, truth: NDArray[Any], axis: NDArray[Any]) -> Array:
        """Standardised targets [T, O] of true tracks [T, 4]."""
        return (_values(self.config, truth, axis) - self.mean) / self.std

    def decode(
        self, outputs: NDArray[Any], truth: NDArray[Any], axis: NDArray[Any], event: NDArray[Any]
    ) -> Tracks:
        """Physical predictions beside the truth, for the metrics.

        pT is clipped to [``MIN_PT``, ``max_pt``] GeV. kappa = q/pT is sign(q)/pT with the clipped
        pT, except for ``q_over_pt``, where it is the output itself.

        Args:
            outputs: What the head returned [T, O].
            truth: eta, phi, pt, q [T, 4].
            axis: eta and phi of the hits [T, 2].
            event: Event number of each track [T].
        """
        values = np.asarray(outputs, dtype=np.float64) * self.std + self.mean
        eta, phi = values[:, 0], values[:, 1]
        if self.config.relative:
            eta, phi = eta + axis[:, 0], wrap_phi(phi + axis[:, 1])
        last = values[:, -1]
        with np.errstate(divide="ignore", over="ignore"):
            match self.config.name:
                case "plain":
                    raw_pt = values[:, 2]
                case "log_pt":
                    raw_pt = np.exp(values[:, 2])
                case "inverse_pt":
                    # An inverse at or below 0 lies beyond infinite pT: it is clipped from above.
                    raw_pt = np.where(values[:, 2] > 0, 1 / values[:, 2], np.inf)
                case _:
                    raw_pt = 1 / np.abs(last)
        pt = np.clip(raw_pt, MIN_PT, self.max_pt)
        true = np.asarray(truth, dtype=np.float64)
        return Tracks(
            event=np.asarray(event),
            eta_true=true[:, 0],
            phi_true=true[:, 1],
            pt_true=true[:, 2],
            q_true=true[:, 3],
            eta=eta,
            phi=phi,
            pt=pt,
            kappa=last if self.config.name == "q_over_pt" else np.sign(last) / pt,
            charge=last,
            clipped=(raw_pt < MIN_PT) | (raw_pt > self.max_pt),
        )


def _values(config: TargetConfig, truth: NDArray[Any], axis: NDArray[Any]) -> Array:
    """Targets before standardisation [T, O]."""
    eta, phi, pt, q = np.asarray(truth, dtype=np.float64).T
    if config.relative:
        eta, phi = eta - axis[:, 0], wrap_phi(phi - axis[:, 1])
    if config.name == "q_over_pt":
        return np.stack([eta, phi, q / pt], axis=1)
    momentum = {"plain": pt, "log_pt": np.log(pt), "inverse_pt": 1 / pt}[config.name]
    return np.stack([eta, phi, momentum, q], axis=1)
