"""The path of muons through the simulated spectrometer against closed forms."""

import numpy as np
import pytest

from headsweep.events.base import Floats
from headsweep.events.detector import (
    STATIONS,
    Crossings,
    lose_energy,
    propagate,
    toroid,
)
from headsweep.events.simulation import (
    draw_muons,
)
from helpers.toy_muons import muons_at, uniform

BARREL = [0, 1, 2]


def chord(crossings: Crossings) -> Floats:
    """Length of the straight line between the inner and the outer barrel crossing, in m [N]."""
    inner, _, outer = crossings.along[BARREL]
    length: Floats = np.hypot(10.0 - 5.0, outer - inner)
    return length


def sagitta(crossings: Crossings) -> Floats:
    """Distance of the middle barrel crossing from the chord, positive for positive charge [N]."""
    inner, middle, outer = crossings.along[BARREL]
    height: Floats = ((outer - inner) * 2.5 - (middle - inner) * 5.0) / chord(crossings)
    return height


@pytest.mark.parametrize("pt", [5.0, 10.0, 50.0, 100.0, 200.0])
@pytest.mark.parametrize("q", [-1.0, 1.0])
def test_sagitta_follows_the_formula_in_a_uniform_field(pt: float, q: float) -> None:
    crossings = propagate(muons_at(pt, q, 0.0, np.zeros(1)), field=uniform(0.5))
    expected = 0.3 * 0.5 * chord(crossings)[0] ** 2 / (8 * pt)
    assert sagitta(crossings)[0] == pytest.approx(q * expected, rel=0.005)


def test_path_in_a_uniform_field_is_a_circle() -> None:
    pt, tesla = 3.0, 0.5
    crossings = propagate(muons_at(pt, 1.0, 0.0, np.zeros(1)), field=uniform(tesla))
    radius = pt / (0.299792458 * tesla)
    # The field acts from the calorimeter at r = 3 m: centre (3, R) in the (r, z) plane.
    for index in BARREL:
        arm = STATIONS[index].at - 3.0
        z = radius - np.sqrt(radius**2 - arm**2)
        slope = arm / np.sqrt(radius**2 - arm**2)
        assert crossings.along[index, 0] == pytest.approx(z, abs=2e-5)
        assert crossings.slope[index, 0] == pytest.approx(slope, rel=1e-3)
        assert crossings.curve[index, 0] == pytest.approx((1 + slope**2) ** 1.5 / radius, rel=1e-2)


def test_without_a_field_tracks_are_straight_lines_from_the_vertex() -> None:
    muons = draw_muons(500, np.random.default_rng(0))
    crossings = propagate(muons, field=uniform(0.0))
    for index, station in enumerate(STATIONS):
        seen = crossings.seen[index]
        assert seen.any()
        eta, z0 = muons.eta[seen], muons.vertex[2, seen]
        if station.barrel:
            expected = z0 + station.at * np.sinh(eta)
        else:
            expected = (np.sign(eta) * station.at - z0) / np.sinh(eta)
        np.testing.assert_allclose(crossings.along[index, seen], expected, atol=1e-3)
        turn = np.angle(np.exp(1j * (crossings.phi[index, seen] - muons.phi[seen])))
        np.testing.assert_allclose(turn, 0, atol=1e-4)


def test_field_is_modulated_by_the_eight_coils() -> None:
    phi = np.linspace(-np.pi, np.pi, 33)
    at = np.full_like(phi, 7.5)
    np.testing.assert_allclose(toroid(at, phi, 0 * at), 0.5 * (1 + 0.3 * np.cos(8 * phi)))
    weak_and_strong = sagitta(propagate(muons_at(100.0, 1.0, 0.2, np.array([np.pi / 8, 0.0]))))
    assert weak_and_strong[1] / weak_and_strong[0] == pytest.approx(1.3 / 0.7, rel=0.01)


def test_field_fills_barrel_and_end_caps_and_nothing_else() -> None:
    def at(r: float, z: float) -> float:
        return float(toroid(np.array(r), np.array(np.pi / 16), np.array(z)))

    assert at(7.5, 0) == pytest.approx(0.5)
    assert at(3.0, 10.0) == pytest.approx(0.5)
    assert 0.1 < at(1.0, -10.0) < at(2.0, -10.0) < 0.5
    for r, z in ((3.0, 0.0), (12.0, 0.0), (3.0, 7.0), (3.0, 14.0), (12.0, 10.0)):
        assert at(r, z) == 0


def test_charges_bend_apart_and_the_same_way_in_all_of_the_detector() -> None:
    for eta, station in ((0.3, 2), (2.0, 5), (-2.0, 5)):
        plus = propagate(muons_at(50.0, 1.0, eta, np.zeros(1)))
        minus = propagate(muons_at(50.0, -1.0, eta, np.zeros(1)))
        assert plus.seen[station, 0]
        assert minus.seen[station, 0]
        # Towards +z: to larger z in the barrel, to smaller r where z > 0, to larger r elsewhere.
        sign = 1 if station == 2 else -np.sign(eta)
        assert sign * (plus.along - minus.along)[station, 0] > 0.01


def test_about_3_gev_are_lost_in_the_calorimeter() -> None:
    rng = np.random.default_rng(1)
    loss = 50 - lose_energy(np.full(100_000, 50.0), rng)
    euler_gamma = 0.5772156649
    assert loss.mean() == pytest.approx(2.8 + 0.2 * (euler_gamma + np.log(2)), abs=0.01)
    assert loss.min() > 2
    # Seen from outside: the sagitta measures the momentum behind the calorimeter.
    muons = muons_at(20.0, 1.0, 0.0, np.full(3000, 0.1))
    straight = sagitta(propagate(muons, field=uniform(0.5, 5.0)))
    real = sagitta(propagate(muons, field=uniform(0.5, 5.0), rng=rng))
    assert np.median(20 * (1 - straight / real)) == pytest.approx(2.96, abs=0.1)


def test_scattering_has_highlands_width_and_falls_with_momentum() -> None:
    rng = np.random.default_rng(2)
    for pt in (20.0, 200.0):
        muons = muons_at(pt, 1.0, 0.0, np.zeros(4000))
        crossings = propagate(muons, field=uniform(0.0), rng=rng)
        thickness = 100.0
        width = 0.0136 / pt * np.sqrt(thickness) * (1 + 0.038 * np.log(thickness))
        # Scattered at r = 3 m, seen at 5 m; the loss of energy makes the angle a little larger.
        assert crossings.along[0].std() == pytest.approx(2.0 * width, rel=0.12)
        assert crossings.slope[0].std() == pytest.approx(width, rel=0.12)
        assert crossings.phi[0].std() == pytest.approx(2.0 / 5.0 * width, rel=0.12)
