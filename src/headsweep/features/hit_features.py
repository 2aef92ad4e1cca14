"""Hit features of the heads, by ``features.name``: the source's own, and what is put into them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headsweep.errors import UserError
from headsweep.events.base import Source
from headsweep.features.bending import TrackHits, bending_features, bending_hits


@dataclass(frozen=True)
class HitFeatures:
    """One set of hit features of one detector.

    ``document``: the columns of the source. ``bending``: the same with the residuals of
    ``bending.py``. ``harmonics``: those, and cos and sin of n phi, with n the number of coils of
    the toroid: its field repeats n times in phi, so the bending of equal tracks does, too.

    Attributes:
        name: ``features.name``.
        plane: The source's bending plane.
        coils: The source's number of coils; None for a field without such a symmetry.

    Raises:
        UserError: There are no harmonics without coils.
    """

    name: str
    plane: str
    coils: int | None

    def __post_init__(self) -> None:
        if self.name == "harmonics" and self.coils is None:
            raise UserError(
                "features=harmonics: the field of these data has no symmetry in phi that is known "
                "(data.source has no coils); of a toroid give their number, such as "
                "data.source.coils=8; a solenoid has none: use features=bending"
            )

    @classmethod
    def of_source(cls, source: Source, name: str) -> "HitFeatures":
        """The features of a source's hits."""
        return cls(name, source.plane, getattr(source, "coils", None))

    def names(self, columns: Sequence[str]) -> tuple[str, ...]:
        """Names of the features [F'] of hits with the given columns [F]."""
        if self.name == "document":
            return tuple(columns)
        bent = bending_features(self.plane, columns)
        return bent if self.name == "bending" else (*bent, *self._waves())

    def of(self, hits: TrackHits) -> NDArray[np.float32]:
        """Features of the assigned hits of each track, not standardised, float32 [H, F'].

        Raises:
            UserError: A column that they need is missing.
        """
        if self.name == "document":
            return hits.hits
        bent = bending_hits(self.plane, hits)
        if self.name == "bending":
            return bent
        phi = np.asarray(self.coils) * track_phi(hits)[hits.track()]
        waves = np.where(np.isfinite(phi), [np.cos(phi), np.sin(phi)], 0)
        return np.concatenate([bent, waves.T.astype(np.float32)], axis=1)

    def _waves(self) -> tuple[str, str]:
        return f"cos{self.coils}phi", f"sin{self.coils}phi"


def track_phi(hits: TrackHits) -> NDArray[np.float64]:
    """Circular mean of phi over the hits of each track that measure it, float64 [T].

    Those are the trigger hits, where there is a column ``technology``: a drift tube measures no
    position along its wire. NaN for a track without one.

    Raises:
        UserError: The hits have neither phi nor a position.
    """
    directions = hits.directions()
    if directions is None:
        raise UserError(
            "features=harmonics: the hits have neither eta and phi nor a position; data.source has "
            f"{', '.join(hits.features)}"
        )
    phi, track = directions[1], hits.track()
    counts = np.ones(len(phi))
    if "technology" in hits.features:
        counts = (hits.column("technology") != 0).astype(np.float64)
    sine, cosine = (np.bincount(track, counts * wave(phi), len(hits)) for wave in (np.sin, np.cos))
    measured = np.bincount(track, counts, len(hits)) > 0
    return np.where(measured, np.arctan2(sine, cosine), np.nan)
