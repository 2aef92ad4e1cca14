"""Muons and fields for tests of the simulated spectrometer."""

import numpy as np

from headsweep.events.base import Floats
from headsweep.events.detector import Field, Muons


def muons_at(pt: float, q: float, eta: float, phi: Floats) -> Muons:
    """One muon from the origin for each phi."""
    full = np.full(len(phi), 1.0)
    return Muons(eta * full, phi, pt * full, q * full, np.zeros((3, len(phi))))


def uniform(tesla: float, r_from: float = 0.0) -> Field:
    """A constant field outside of a radius in m."""
    return lambda r, phi, z: np.where(r > r_from, tesla, 0.0)
