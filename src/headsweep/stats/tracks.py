"""Truth and prediction of tracks, of which all metrics are functions."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TRUTH = ("event", "eta_true", "phi_true", "pt_true", "q_true")
"""Columns of ``Tracks`` that are the same for every prediction."""


@dataclass(frozen=True)
class Tracks:
    """Truth and prediction of T tracks, each attribute of shape [T].

    Attributes:
        event: Event number, int64; two tracks of one event are not independent.
        eta_true: True pseudorapidity.
        phi_true: True azimuth in rad.
        pt_true: True transverse momentum in GeV, positive.
        q_true: True charge, +-1.
        eta: Predicted pseudorapidity.
        phi: Predicted azimuth in rad, any branch.
        pt: Predicted transverse momentum in GeV, clipped.
        kappa: Predicted q / pT in 1/GeV; not clipped where the head predicts it directly.
        charge: Raw charge output; its sign is the predicted charge, exactly 0 is wrong.
        clipped: Whether ``pt`` was clipped, bool.
        eta_sigma: Standard deviation of ``eta`` as the head gives it; None where it gives none, as
            for the other two.
        phi_sigma: That of ``phi`` in rad.
        kappa_sigma: That of ``kappa`` in 1/GeV.
    """

    event: NDArray[np.int64]
    eta_true: Array
    phi_true: Array
    pt_true: Array
    q_true: Array
    eta: Array
    phi: Array
    pt: Array
    kappa: Array
    charge: Array
    clipped: NDArray[np.bool_]
    eta_sigma: Array | None = None
    phi_sigma: Array | None = None
    kappa_sigma: Array | None = None

    def __post_init__(self) -> None:
        for name, values in self.columns().items():
            if values.shape != (len(self.event),):
                raise ValueError(f"Tracks.{name} has shape {values.shape}, not {self.event.shape}")

    def columns(self) -> dict[str, NDArray[Any]]:
        """Every attribute that there is, by name."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: values for name, values in found.items() if values is not None}

    def __len__(self) -> int:
        return len(self.event)

    @classmethod
    def from_estimate(
        cls, event: NDArray[np.int64], truth: NDArray[Any], estimate: NDArray[Any]
    ) -> "Tracks":
        """Tracks of a reference that gives physical values.

        Args:
            event: Event numbers [T].
            truth: True eta, phi, pT in GeV and q, [T, 4].
            estimate: The same four as estimated, [T, 4]; NaN where there is no estimate.
        """
        eta_true, phi_true, pt_true, q_true = np.asarray(truth, dtype=np.float64).T
        eta, phi, pt, charge = np.asarray(estimate, dtype=np.float64).T
        return cls(
            event=np.asarray(event, dtype=np.int64),
            eta_true=eta_true,
            phi_true=phi_true,
            pt_true=pt_true,
            q_true=q_true,
            eta=eta,
            phi=phi,
            pt=pt,
            kappa=np.sign(charge) / pt,
            charge=charge,
            clipped=np.zeros(len(event), dtype=bool),
        )

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "Tracks":
        """The tracks of a mask [T] or of row numbers."""
        return Tracks(**{name: values[rows] for name, values in self.columns().items()})

    def where(self, mask: NDArray[np.bool_], other: "Tracks") -> "Tracks":
        """These tracks where a mask [T] is true, elsewhere those of ``other``."""
        own, rest = self.columns(), other.columns()
        return Tracks(**{name: np.where(mask, own[name], rest[name]) for name in own})

    def sharing_truth(self, other: "Tracks") -> "Tracks":
        """The same tracks, with the truth of others in memory once for both where it is equal."""
        equal = all(np.array_equal(getattr(self, name), getattr(other, name)) for name in TRUTH)
        return replace(self, **{name: getattr(other, name) for name in TRUTH}) if equal else self

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Tracks with a finite prediction, [T]."""
        predictions = np.stack([self.eta, self.phi, self.pt, self.kappa, self.charge])
        return np.asarray(np.isfinite(predictions).all(axis=0))

    @property
    def rho(self) -> Array:
        """Relative error of q / pT, [T]: 0 is perfect, about -2 a charge flip."""
        return self.kappa * self.pt_true / self.q_true - 1

    @property
    def wrong_charge(self) -> NDArray[np.bool_]:
        """Tracks whose charge output has the wrong sign or none, [T]."""
        wrong: NDArray[np.bool_] = np.sign(self.charge) != self.q_true
        return wrong


def concatenate(parts: Sequence[Tracks]) -> Tracks:
    """All tracks of several sets, at least one."""
    columns = [part.columns() for part in parts]
    return Tracks(**{name: np.concatenate([own[name] for own in columns]) for name in columns[0]})


def wrap_phi(difference: Array) -> Array:
    """An angle difference in rad, wrapped into (-pi, pi]."""
    wrapped = np.mod(difference + np.pi, 2 * np.pi) - np.pi
    return np.where(wrapped <= -np.pi, np.pi, wrapped)
