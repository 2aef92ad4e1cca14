"""Parametrisations of (eta, phi, pt, q) that a head learns, and their way back to physics.

They are standardised on the training split, or left in their units, as hepattn does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headsweep.config import QUANTITIES, PoolingConfig, TargetConfig
from headsweep.errors import UserError
from headsweep.stats.tracks import Array, Tracks, wrap_phi

MIN_PT = 0.1
"""Smallest decoded pT in GeV."""


@dataclass(frozen=True)
class _Momentum:
    """Outputs that stand for pt and q, after eta and phi.

    Attributes:
        encode: From pt and q [T] to the outputs, each [T].
        decode_pt: From the first of them to pt in GeV, before clipping.
        slope: From pt to |d(1/pt) / d(that output)|, by which its uncertainty is that of kappa.
        gives_kappa: True if the only output is kappa = q/pt itself; otherwise the last one is q.
    """

    encode: Callable[[Array, Array], tuple[Array, ...]]
    decode_pt: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    gives_kappa: bool = False


MOMENTA = {
    "plain": _Momentum(lambda pt, q: (pt, q), lambda pt: pt, lambda pt: 1 / pt**2),
    "log_pt": _Momentum(lambda pt, q: (np.log(pt), q), np.exp, lambda pt: 1 / pt),
    "inverse_pt": _Momentum(
        lambda pt, q: (1 / pt, q),
        # An inverse at or below 0 lies beyond infinite pT: it is clipped from above.
        lambda inverse: np.where(inverse > 0, 1 / inverse, np.inf),
        np.ones_like,
    ),
    "q_over_pt": _Momentum(
        lambda pt, q: (q / pt,), lambda kappa: 1 / np.abs(kappa), np.ones_like, gives_kappa=True
    ),
}
"""The parametrisations by ``target.name``; ``config.TARGETS`` lists them for the schema."""


@dataclass(frozen=True)
class Target:
    """One parametrisation of (eta, phi, pt, q).

    Attributes:
        name: Key of ``MOMENTA``.
        relative: True if eta and phi are relative to the axis of the track's hits.
        pt_unit: Unit of pT in the outputs, GeV.
        mean: Mean of each output on the training split [O]; 0 if it is not standardised.
        std: Its standard deviation [O]; 1 if it is not standardised.
        max_pt: Largest decoded pT in GeV: 5 times the largest of training.
        phi: ``angle``, or ``sincos`` for two outputs.
        analytic: True if the analytic estimate is the prediction where it is usable.
    """

    name: str
    relative: bool
    pt_unit: float
    mean: Array
    std: Array
    max_pt: float
    phi: str = "angle"
    analytic: bool = False

    @classmethod
    def fit(
        cls, config: TargetConfig, truth: NDArray[Any], axis: NDArray[Any], logit: bool = False
    ) -> "Target":
        """Fit to the training split.

        Args:
            config: The parametrisation.
            truth: eta, phi, pt [GeV], q of the training tracks [T, 4].
            axis: eta and phi of the tracks' hits [T, 2], see ``features.cache.Features``.
            logit: True if the last output is the logit of a positive charge: its target stays +-1.
        """
        if config.relative and not np.isfinite(axis).all():
            raise UserError(
                "target.relative=true: the hits have neither a position nor eta and phi, so their "
                "tracks have no direction; use target.relative=false"
            )
        values = _values(config, truth, axis)
        outputs = values.shape[1]
        mean, std = np.zeros(outputs), np.ones(outputs)
        if config.standardise:
            mean, std = values.mean(axis=0), values.std(axis=0)
        if logit:
            mean[-1], std[-1] = 0, 1
        return cls(
            name=config.name,
            relative=config.relative,
            pt_unit=config.pt_unit,
            mean=mean,
            std=np.where(std > 0, std, 1.0),
            max_pt=5 * float(truth[:, 2].max()),
            phi=config.phi,
            analytic=config.analytic,
        )

    @property
    def outputs(self) -> int:
        """Number of outputs, O."""
        return len(self.mean)

    @property
    def quantities(self) -> tuple[str, ...]:
        """Which of ``config.QUANTITIES`` each output stands for, [O]; kappa stands for pt."""
        eta, phi, *rest = QUANTITIES
        several = (phi, phi) if self.phi == "sincos" else (phi,)
        return (eta, *several, *rest)[: self.outputs]

    def encode(self, truth: NDArray[Any], axis: NDArray[Any]) -> Array:
        """Targets [T, O] of true tracks [T, 4]."""
        return (_values(self, truth, axis) - self.mean) / self.std

    def encode_estimate(self, analytic: NDArray[Any], axis: NDArray[Any]) -> Array:
        """The analytic estimate as an input of the head: its outputs, if the estimate is right.

        Args:
            analytic: Estimated eta, phi, pt [GeV] and q [T, 4]; NaN where there is no estimate.
            axis: eta and phi of the hits [T, 2].

        Returns:
            The estimate with pt clipped as predictions are, on the scale of the targets, and 1 for
            a usable one, [T, O + 1]; zeros where it is not usable.
        """
        eta, phi, pt, q = np.asarray(analytic, dtype=np.float64).T
        estimate = np.stack([eta, phi, np.clip(pt, MIN_PT, self.max_pt), q], axis=1)
        usable = np.isfinite(estimate).all(axis=1, keepdims=True)
        values = np.where(usable, self.encode(np.where(usable, estimate, 1.0), axis), 0.0)
        return np.concatenate([values, usable], axis=1)

    def decode(
        self,
        outputs: NDArray[Any],
        truth: NDArray[Any],
        axis: NDArray[Any],
        event: NDArray[Any],
        sigma: Array | None = None,
    ) -> Tracks:
        """Decode outputs to physical predictions beside the truth, for the metrics.

        pT is clipped to [``MIN_PT``, ``max_pt``] GeV. kappa = q/pT is sign(q)/pT with the clipped
        pT, unless the output is kappa itself.

        Args:
            outputs: Outputs of the head [T, O].
            truth: eta, phi, pt, q [T, 4].
            axis: eta and phi of the hits [T, 2].
            event: Event number of each track [T].
            sigma: Standard deviation of each output but perhaps the charge [T, O or O - 1]; None
                where there is none. It is propagated linearly.
        """
        values = np.asarray(outputs, dtype=np.float64) * self.std + self.mean
        eta, phi = values[:, 0], values[:, 1]
        if self.phi == "sincos":
            phi = np.arctan2(values[:, 1], values[:, 2])
        if self.relative:
            eta, phi = eta + axis[:, 0], wrap_phi(phi + axis[:, 1])
        last, momentum = values[:, -1], MOMENTA[self.name]
        with np.errstate(divide="ignore", over="ignore"):
            raw_pt = momentum.decode_pt(values[:, self.quantities.index("pt")]) * self.pt_unit
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
            kappa=last / self.pt_unit if momentum.gives_kappa else np.sign(last) / pt,
            charge=last,
            clipped=(raw_pt < MIN_PT) | (raw_pt > self.max_pt),
            **({} if sigma is None else self._sigmas(values, sigma, pt)),
        )

    def _sigmas(self, values: Array, sigma: Array, pt: Array) -> dict[str, Array]:
        """Uncertainties of eta, phi and kappa, by linear propagation from those of the outputs."""
        own = sigma * self.std[: sigma.shape[1]]
        at = self.quantities.index("pt")
        phi = own[:, 1]
        if self.phi == "sincos":
            sine, cosine = values[:, 1], values[:, 2]
            phi = np.hypot(cosine * own[:, 1], sine * own[:, 2]) / (sine**2 + cosine**2)
        slope = MOMENTA[self.name].slope(pt / self.pt_unit) / self.pt_unit
        return {"eta_sigma": own[:, 0], "phi_sigma": phi, "kappa_sigma": own[:, at] * slope}


def estimate_dim(config: Mapping[str, Any]) -> int:
    """Length of ``Target.encode_estimate`` with a resolved configuration; 0 without that input."""
    if not PoolingConfig(**config["pooling"]).analytic:
        return 0
    values = _values(TargetConfig(**config["target"]), np.ones((1, 4)), np.zeros((1, 2)))
    return len(values[0]) + 1


def check_estimate(config: Mapping[str, Any], analytic: NDArray[Any]) -> None:
    """Refuse keys that ask for an analytic estimate of data that have none.

    Args:
        config: The resolved configuration.
        analytic: Estimates of the training tracks [T, 4].

    Raises:
        UserError: No track has an estimate; the message names the key.
    """
    if np.isfinite(analytic).all(axis=1).any():
        return
    for group in ("pooling", "target"):
        if config[group].get("analytic"):
            raise UserError(
                f"{group}.analytic=true: no training track has an analytic estimate: the hits lack "
                f"a column of its formula, or the tracks are too few; use {group}.analytic=false"
            )


def _values(form: TargetConfig | Target, truth: NDArray[Any], axis: NDArray[Any]) -> Array:
    """Targets before standardisation [T, O]."""
    eta, phi, pt, q = np.asarray(truth, dtype=np.float64).T
    if form.relative:
        eta, phi = eta - axis[:, 0], wrap_phi(phi - axis[:, 1])
    angles = (np.sin(phi), np.cos(phi)) if form.phi == "sincos" else (phi,)
    return np.stack([eta, *angles, *MOMENTA[form.name].encode(pt / form.pt_unit, q)], axis=1)
