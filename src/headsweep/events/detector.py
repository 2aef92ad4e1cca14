"""The simulated spectrometer: its stations, field and material, and the path of muons.

Cylindrical coordinates r, phi, z in metres, momenta in GeV, fields in tesla. The detector is
described here once; ``events/simulation.py`` turns the crossings of its stations into hits.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headsweep.events.base import Floats

Field = Callable[[Floats, Floats, Floats], Floats]
"""B_phi in tesla at (r, phi, z)."""

GEV_PER_TESLA_METRE = 0.299792458
STEP = 0.1
"""Step of the integration in metres."""
STEEPEST = 3.0
"""A muon that meets a station with a larger slope to its normal grazes it and is not seen."""
LONGEST_PATH = 35.0
"""A muon that is still inside after this path in metres curls and is given up."""


@dataclass(frozen=True)
class Station:
    """A precision station: a cylinder around the beam or a pair of wheels across it.

    Attributes:
        name: B or E for barrel or end-cap; I, M or O for inner, middle or outer.
        at: Its surface: r of a cylinder, |z| of the wheels, in metres.
        low: Lower bound of the coordinate that its tubes measure: |z| or r, in metres.
        high: Upper bound, likewise.
        trigger: Offsets of its trigger planes from the surface, in metres.
    """

    name: str
    at: float
    low: float
    high: float
    trigger: tuple[float, ...]

    @property
    def barrel(self) -> bool:
        """True if the surface is a cylinder, False for two wheels."""
        return self.name.startswith("B")

    def holds(self, along: Floats) -> NDArray[np.bool_]:
        """True where a coordinate along the surface is within the station."""
        return (np.abs(along) >= self.low) & (np.abs(along) < self.high)


STATIONS = (
    Station("BI", 5.0, 0.0, 6.5, (0.3,)),
    Station("BM", 7.5, 0.0, 9.0, (-0.3, 0.3)),
    Station("BO", 10.0, 0.0, 12.5, (-0.3, 0.3)),
    Station("EI", 7.5, 0.9, 6.2, (-0.3, 0.3)),
    Station("EM", 14.0, 1.7, 11.5, (-0.5, -0.3, 0.3)),
    Station("EO", 21.5, 2.7, 13.5, ()),
)
"""The index in this tuple is the ``stationIndex`` of a hit, before its scale."""

STATION_RADIATION_LENGTHS = 0.3
CALORIMETER_R, CALORIMETER_Z = 3.0, 5.0
"""The calorimeter is one thin surface at the middle of its depth: r and |z| in metres."""
CALORIMETER_RADIATION_LENGTHS = 100.0
LOSS_GEV, LOSS_SPREAD_GEV = 2.8, 0.2
"""Most probable energy loss in the calorimeter and the width of its Moyal distribution."""
STOPPED_GEV = 0.3
"""A muon with less momentum behind the calorimeter never reaches a station."""

COILS = 8
"""The field of a toroid repeats this often in phi."""

PEAK_TESLA = 0.5
SECTOR_MODULATION = 0.3
END_CAP_PEAK_R = 3.0
EDGE = 0.5
"""Depth in metres over which the field rises at the edge of a coil."""


@dataclass(frozen=True)
class Muons:
    """N muons at their production point.

    Attributes:
        eta: Pseudorapidity [N].
        phi: Azimuth [N].
        pt: Transverse momentum in GeV [N].
        q: Charge, +-1 [N].
        vertex: x, y, z in metres [3, N].
    """

    eta: Floats
    phi: Floats
    pt: Floats
    q: Floats
    vertex: Floats

    def __len__(self) -> int:
        return len(self.pt)


@dataclass(frozen=True)
class Crossings:
    """Crossings of N muons with each of the S ``STATIONS``; every array is [S, N].

    Near the surface a track is a parabola in the station's own coordinates: ``along`` is z in
    the barrel and r in the end-caps, ``depth`` is r - at or |z| - at.

    Attributes:
        seen: True if the muon crosses the station within its bounds; elsewhere the rest is 0.
        along: Coordinate along the surface at depth 0, in metres.
        slope: d along / d depth.
        curve: Second derivative of ``along`` by depth, in 1/m.
        phi: Azimuth at depth 0.
        phi_slope: d phi / d depth, in 1/m.
        side: Sign of z.
    """

    seen: NDArray[np.bool_]
    along: Floats
    slope: Floats
    curve: Floats
    phi: Floats
    phi_slope: Floats
    side: Floats


def toroid(r: Floats, phi: Floats, z: Floats) -> Floats:
    """B_phi of the air-core toroids, in tesla.

    The barrel coil fills r = 5-10 m up to |z| = 7.5 m with 0.5 T. The end-cap coil fills
    |z| = 7.5-13 m; its 1/r field is softened to 2 r a / (r^2 + a^2) with a = 3 m, which is 1 at
    r = a and falls to 0 at the beam. Both vary with the eight coils as 1 + 0.3 cos 8 phi.
    """
    height = np.abs(z)
    end_cap = _inside(height - 7.5)
    softened = 2 * END_CAP_PEAK_R * r / (r * r + END_CAP_PEAK_R**2)
    strength = _inside(10 - r) * (
        (1 - end_cap) * _inside(r - 5) + end_cap * _inside(13 - height) * softened
    )
    return PEAK_TESLA * strength * (1 + SECTOR_MODULATION * np.cos(COILS * phi))


def _inside(depth: Floats) -> Floats:
    """Ramp from 0 outside an edge to 1 inside, of length ``EDGE`` and centred on the edge."""
    return np.clip(depth / EDGE + 0.5, 0.0, 1.0)


def propagate(
    muons: Muons, field: Field = toroid, rng: np.random.Generator | None = None
) -> Crossings:
    """Follow muons from their vertex through the field to the stations.

    A straight line leads to the calorimeter, which takes energy and scatters; from there the
    equation of motion is integrated in midpoint steps of 10 cm. Every station that is crossed
    scatters.

    Args:
        muons: N muons.
        field: B_phi at (r, phi, z).
        rng: Draws energy loss and scattering; without it there is neither.
    """
    state, p = _at_calorimeter(muons)
    moving = np.arange(len(muons))
    if rng is not None:
        behind = lose_energy(p, rng)
        moving = np.flatnonzero(behind > STOPPED_GEV)
        state, p, behind = state[:, moving], p[moving], behind[moving]
        _scatter(state, np.sqrt(p * behind), CALORIMETER_RADIATION_LENGTHS, rng)
        p = behind

    found = np.zeros((6, len(STATIONS), len(muons)))
    seen = np.zeros((len(STATIONS), len(muons)), bool)
    for _ in range(round(LONGEST_PATH / STEP)):
        bend = GEV_PER_TESLA_METRE * muons.q[moving] / p
        last, state = state, _step(state, bend, field)
        for index, station in enumerate(STATIONS):
            crossed, values = _cross(station, last, state)
            found[:, index, moving[crossed]] = values
            seen[index, moving[crossed]] = True
            if rng is not None and len(crossed):
                scattered = state[:, crossed]
                _scatter(scattered, p[crossed], STATION_RADIATION_LENGTHS, rng)
                state[:, crossed] = scattered
        inside = _inside_detector(state)
        if not inside.all():
            state, p, moving = state[:, inside], p[inside], moving[inside]
        if len(moving) == 0:
            break
    return Crossings(seen, *found)


def lose_energy(p: Floats, rng: np.random.Generator) -> Floats:
    """Momentum in GeV behind the calorimeter; on average 3.05 GeV less.

    The loss has Moyal's approximation to the Landau distribution: if x is Moyal, exp(-x) is chi2
    with one degree of freedom.
    """
    moyal = -np.log(rng.standard_normal(len(p)) ** 2)
    return p - LOSS_GEV - LOSS_SPREAD_GEV * moyal


def _at_calorimeter(muons: Muons) -> tuple[Floats, Floats]:
    """State and momentum in GeV of muons where they meet the calorimeter.

    A state [6, n] is the position (r, phi, z) and the unit vector of the direction along the
    axes of these coordinates.
    """
    sin = 1 / np.cosh(muons.eta)
    u = np.stack([sin * np.cos(muons.phi), sin * np.sin(muons.phi), np.tanh(muons.eta)])
    with np.errstate(divide="ignore"):
        to_wheel = (CALORIMETER_Z - np.sign(u[2]) * muons.vertex[2]) / np.abs(u[2])
    x, y, z = muons.vertex + u * np.minimum(CALORIMETER_R / sin, to_wheel)
    r = np.hypot(x, y)
    radial, sideways = (x * u[0] + y * u[1]) / r, (x * u[1] - y * u[0]) / r
    return np.stack([r, np.arctan2(y, x), z, radial, sideways, u[2]]), muons.pt / sin


def _derivative(state: Floats, bend: Floats, field: Field) -> Floats:
    """Change of a state per metre: velocity, Lorentz force, and the turning of the axes."""
    r, phi, z, radial, sideways, forward = state
    kappa = bend * field(r, phi, z)
    turning = sideways / r
    return np.stack(
        [
            radial,
            turning,
            forward,
            turning * sideways - kappa * forward,
            -turning * radial,
            kappa * radial,
        ]
    )


def _step(state: Floats, bend: Floats, field: Field) -> Floats:
    """One midpoint step; the direction stays a unit vector."""
    middle = state + STEP / 2 * _derivative(state, bend, field)
    new = state + STEP * _derivative(middle, bend, field)
    _normalise(new)
    return new


def _normalise(state: Floats) -> None:
    state[3:] /= np.sqrt((state[3:] ** 2).sum(axis=0))


def _inside_detector(state: Floats) -> NDArray[np.bool_]:
    """True for muons that can still meet a station farther out."""
    r, height = state[0], np.abs(state[2])
    inside: NDArray[np.bool_] = (height < 21.6) & (r < np.where(height < 14.1, 11.8, 13.8))
    return inside


def _cross(station: Station, last: Floats, state: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Find the muons that cross a station in one step, and their ``Crossings`` but ``seen``.

    Inside the step the direction changes linearly with the path.
    """
    depth_axis, along_axis = (0, 2) if station.barrel else (2, 0)
    end = np.abs(state[depth_axis])
    crossed = np.flatnonzero((np.abs(last[depth_axis]) < station.at) & (end >= station.at))
    last, state, end = last[:, crossed], state[:, crossed], end[crossed]
    turn = (state[3:] - last[3:]) / STEP
    side = np.sign(last[2])
    outward = 1 if station.barrel else side
    depth, along = outward * last[depth_axis], last[along_axis]
    path = STEP * (station.at - depth) / (end - depth)
    depth_1 = outward * (last[3 + depth_axis] + path * turn[depth_axis] / 2)
    along_1 = last[3 + along_axis] + path * turn[along_axis] / 2
    missing = station.at - depth - path * depth_1
    along = along + path * along_1
    depth_2, along_2 = outward * turn[depth_axis], turn[along_axis]
    depth_1, along_1 = depth_1 + path * depth_2 / 2, along_1 + path * along_2 / 2
    slope = along_1 / depth_1
    along = along + slope * missing
    curve = (along_2 * depth_1 - depth_2 * along_1) / depth_1**3
    turning = last[4] / last[0]
    phi = last[1] + path * turning
    values = np.stack([along, slope, curve, phi, turning / depth_1, side])
    through = station.holds(along) & (np.abs(slope) < STEEPEST)
    return crossed[through], values[:, through]


def _scatter(state: Floats, p: Floats, thickness: float, rng: np.random.Generator) -> None:
    """Turn directions, in place, by a Gaussian angle of Highland's width (PDG review).

    Args:
        state: States [6, n].
        p: Momentum in GeV [n].
        thickness: Material in radiation lengths.
        rng: Draws one angle in the bending plane and one across it.
    """
    width = 0.0136 / p * np.sqrt(thickness) * (1 + 0.038 * np.log(thickness))
    bending, across = width * rng.standard_normal((2, len(p)))
    radial, _, forward = state[3:]
    state[3:] += np.stack([-bending * forward, across, bending * radial])
    _normalise(state)
