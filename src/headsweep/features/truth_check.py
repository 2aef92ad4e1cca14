"""Cross-check of truth against hits: what a sample cannot have, whatever its detector.

Hits lie along their track, so their direction is eta and phi of the truth. Tracks of low pT bend
more, so pT times curvature is the field times 0.3, and the side to which a track bends is that of
its charge. Read by training and by ``headsweep data validate`` alike, through ``load_events``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headsweep.errors import DataError
from headsweep.events.base import TRACK_COLUMNS, Events, Floats, Source
from headsweep.events.gate import Limits, place, position_columns, read_events
from headsweep.features.analytic import Measured, measure
from headsweep.features.bending import TrackHits, hits_of_tracks

FEWEST_TRACKS = 20
"""With fewer tracks nothing is compared."""

FAR = 0.7
"""Deviation of eta or phi that no bending and no length of a wire explains."""

MOST_FAR = 0.1
"""Share of tracks that may be so far off: decays, loops, wrong links."""

IN_LINE = 0.95
"""Rank correlation from which on eta is a rising function of that of the hits."""

CLOSE = 0.25
"""Largest median deviation of eta or phi."""

SCALE = (0.9, 1.1)
"""Range of the median ratio of eta or phi to that of the hits."""

MEASURED = 0.8
"""Share of tracks on the side of their charge less those on the other, if bending is measured."""

POWERS = (0.7, 1.6)
"""Range of ``Bending.power`` where bending is well measured; energy loss makes it above 1."""

FIELDS = (0.005, 20.0)
"""Magnetic fields in T that detectors have, on average along a track."""

FIELD_FACTOR = 1.5
"""Largest ratio of the field that the hits show to the one that the source names."""

INSTEAD = "use data.source.limits.compare=false for tracks that do not come from the origin"


@dataclass(frozen=True)
class Bending:
    """What the hits say about pT and charge of their tracks.

    Attributes:
        tracks: Tracks with a measured curvature.
        field: Median of pT times curvature over 0.3, in T, positive where positive charge turns
            right: the average field if the truth is right.
        rank: Rank correlation of pT and |curvature|, near -1 if the truth is right.
        side: Share of tracks on the side of their charge less those on the other, +-1 at best.
        power: Spread of log |curvature| over that of log pT, 1 if the truth is right.
        p_like: Slope of log(pT times curvature) over log cosh eta, and its standard error: 0 in a
            solenoid if the truth is right, 1 if it has p instead of pT. In a toroid, whose
            curvature is that of p, the slope of log pT, which no source of muons makes rise so.
    """

    tracks: int
    field: float
    rank: float
    side: float
    power: float
    p_like: tuple[float, float]


def load_events(source: Source, root: Path, *, truth: bool = True) -> Events:
    """Read events as every training does: through the gate, with truth and hits compared.

    Args:
        source: Ours, or a user's own.
        root: The folder of all output.
        truth: Whether true tracks are needed. Without, events of which none has one pass.

    Raises:
        DataError: See ``gate.read_events`` and ``check_truth``.
    """
    events = read_events(source, root, truth=truth)
    if len(events.tracks):
        check_truth(events, source)
    return events


def check_truth(events: Events, source: Source) -> None:
    """Refuse truth that the hits contradict.

    Raises:
        DataError: eta, phi, pT or charge do not agree with the hits; says what they look like.
    """
    limits, where = Limits.of(source), place(source)
    if not limits.compare or not position_columns(events.features):
        return
    truth = dict(zip(TRACK_COLUMNS, events.tracks.T.astype(np.float64), strict=True))
    direction, bending = _seen_by_hits(events, source.plane)
    seen = np.isfinite(direction[0])
    if np.count_nonzero(seen) >= FEWEST_TRACKS:
        _check_directions(direction[:, seen], truth["eta"][seen], truth["phi"][seen], where)
    _check_bending(
        source.plane, measure_bending(source.plane, bending, truth), truth, limits, where
    )


def _seen_by_hits(events: Events, plane: str) -> tuple[Floats, Measured | None]:
    """``hit_directions`` and the bending of every track, a block of events at a time."""
    directions, bendings = [], []
    for _, part in events.blocks():
        hits = hits_of_tracks(part, np.arange(len(part.tracks)))
        found = hit_directions(plane, hits)
        directions.append(np.full((2, len(hits)), np.nan) if found is None else found)
        bendings.append(measure(plane, hits))
    return np.concatenate(directions, axis=1), Measured.joined(bendings)


def hit_directions(plane: str, hits: TrackHits) -> Floats | None:
    """Rough eta and phi of each track from its hits, float64 [2, T]; NaN for a track without.

    A solenoid leaves eta alone and turns phi least at the innermost hit; a toroid leaves phi alone.
    None if hits have no position.
    """
    points = position_columns(hits.features)
    if not points:
        return None
    # A wire counts at its middle: its ends may be far from the track.
    x, y, z = (np.mean([hits.column(p[axis]) for p in points], axis=0) for axis in range(3))
    track, n_tracks = hits.track(), len(hits)

    def total(values: Floats) -> Floats:
        return np.bincount(track, values, n_tracks).astype(np.float64)

    r = np.hypot(x, y)
    away = np.maximum(r, 1e-12)
    x_unit, y_unit = x / away, y / away
    if plane == "xy":
        order = np.lexsort((r, track))
        inner = order[np.unique(track[order], return_index=True)[1]]
        x_unit[np.setdiff1d(np.arange(len(x)), inner)] = 0
        y_unit[np.setdiff1d(np.arange(len(x)), inner)] = 0
    eta = np.arcsinh(total(z) / np.maximum(np.hypot(total(x), total(y)), 1e-12))
    phi = np.arctan2(total(y_unit), total(x_unit))
    result = np.stack([eta, phi])
    result[:, np.diff(hits.offsets) == 0] = np.nan
    return result


def measure_bending(
    plane: str, found: Measured | None, truth: Mapping[str, Floats]
) -> Bending | None:
    """Compare pT and charge with the curvature of the hits; None if too few have one."""
    if found is None:
        return None
    use = np.isfinite(found.bend) & np.isfinite(found.phi) & (found.bend != 0)
    if np.count_nonzero(use) < FEWEST_TRACKS:
        return None
    bend, eta = found.bend[use], found.eta[use]
    pt, q = truth["pt"][use], truth["q"][use]
    # In a toroid the curvature changes with eta more than with pT: compare within bins of eta.
    n_bins = max(1, min(10, len(bend) // 30))
    edges = np.quantile(np.abs(eta), np.linspace(0, 1, n_bins + 1)[1:-1])
    group = np.searchsorted(edges, np.abs(eta))
    size = _level(np.log(np.abs(bend)), group)
    momentum = _level(np.log(pt), group)
    rank = np.corrcoef(_ranks(momentum), _ranks(size))[0, 1]
    product = q * pt * bend
    side = float(np.mean(np.sign(product)))
    return Bending(
        tracks=len(bend),
        field=float(np.median(np.abs(product)) / 0.3 * np.sign(side)),
        rank=float(rank) if np.ptp(pt) else math.nan,
        side=side,
        power=_quartiles(size) / max(_quartiles(momentum), 1e-9),
        p_like=_slope(np.log(np.cosh(eta)), np.log(np.abs(product) if plane == "xy" else pt)),
    )


def _quartiles(values: Floats) -> float:
    return float(np.subtract(*np.quantile(values, [0.75, 0.25])))


def _slope(x: Floats, y: Floats) -> tuple[float, float]:
    """Slope of a straight line and its standard error; 0 where x does not vary."""
    spread = float(np.var(x))
    if spread < 1e-4:
        return 0.0, math.inf
    slope = float(np.cov(x, y, bias=True)[0, 1] / spread)
    return slope, math.sqrt(float(np.var(y - slope * x)) / spread / len(x))


def summarise(events: Events, plane: str) -> list[str]:
    """What is in a source, and what its hits show of the field; in lines."""
    truth = dict(zip(TRACK_COLUMNS, events.tracks.T.astype(np.float64), strict=True))
    found = measure_bending(plane, _seen_by_hits(events, plane)[1], truth)
    bending = "not measured by a formula, so pT and charge are not compared with the hits"
    if found is not None and abs(found.side) > MEASURED:
        turns = "right" if found.side > 0 else "left"
        bending = f"as in a field of {found.field:.2g} T, positive charge turns {turns}"
    true = sum(int(np.count_nonzero(part.hit_track >= 0)) for _, part in events.blocks())
    low, middle, high = np.quantile(truth["pt"], (0, 0.5, 1))
    positive = np.mean(truth["q"] > 0)
    return [
        f"{len(events):,} events, {len(events.tracks):,} tracks, {len(events.hits):,} hits",
        f"{true / len(events.tracks):.1f} true hits a track, "
        f"{1 - true / len(events.hits):.1%} noise hits",
        f"pT {low:.3g} to {high:.3g} GeV, median {middle:.3g}; positive {positive:.1%}",
        f"hit features ({len(events.features)}): {', '.join(events.features)}",
        f"bending: {bending}",
    ]


def _level(values: Floats, group: NDArray[np.intp]) -> Floats:
    medians = [np.median(values[group == g]) if (group == g).any() else 0.0 for g in range(10)]
    level: Floats = values - np.array(medians)[group]
    return level


def _ranks(values: Floats) -> Floats:
    return np.argsort(np.argsort(values)).astype(np.float64)


def _turn(angle: Floats) -> Floats:
    return np.arctan2(np.sin(angle), np.cos(angle))


def _agree(own: Floats, hits: Floats, *, angle: bool) -> bool:
    """Whether a column of the truth is the direction of the hits, but for bending and wires."""
    own = _turn(own) if angle else own
    off = np.abs(_turn(own - hits) if angle else own - hits)
    clear = (np.abs(hits) > 0.5) & (np.abs(hits) < 2.6 if angle else True)
    far = np.count_nonzero(off > FAR)
    ratio = float(np.median(own[clear] / hits[clear])) if clear.sum() >= FEWEST_TRACKS else 1.0
    return bool(
        far <= max(2, MOST_FAR * len(off))
        and np.median(off) < CLOSE
        and (SCALE[0] < ratio < SCALE[1] or (angle and np.median(off) < 0.02))
    )


def _check_directions(direction: Floats, eta: Floats, phi: Floats, where: str) -> None:
    hit_eta, hit_phi = direction
    good_eta = _agree(eta, hit_eta, angle=False)
    good_phi = _agree(phi, hit_phi, angle=True)
    if good_eta and good_phi:
        return
    off = {
        "eta": np.median(np.abs(eta - hit_eta)),
        "phi": np.median(np.abs(_turn(phi - hit_phi))),
    }
    wrong = [name for name, good in (("eta", good_eta), ("phi", good_phi)) if not good]
    words = " and ".join(f"{name} by {off[name]:.2g} (median)" for name in wrong)
    raise DataError(
        f"{where}: track column {' and '.join(map(repr, wrong))}: the truth is off the direction "
        f"of the hits, {words}; {_looks_like(hit_eta, hit_phi, eta, phi, wrong)}"
    )


def _looks_like(
    hit_eta: Floats, hit_phi: Floats, eta: Floats, phi: Floats, wrong: list[str]
) -> str:
    """Find the mistake after whose mending truth and hits agree."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        from_theta = -np.log(np.tan(np.clip(eta, 1e-9, np.pi - 1e-9) / 2))
    both = {
        "eta and phi look exchanged": (phi, eta),
    }
    only_phi = {
        "phi looks like turns; it must be in radians": 2 * np.pi * phi,
        "phi has the wrong sign, or y has": -phi,
        "x and y look exchanged": np.pi / 2 - phi,
        "x has the wrong sign": np.pi - phi,
        "x and y have the wrong sign": phi + np.pi,
    }
    clear = np.abs(hit_eta) > np.median(np.abs(hit_eta))
    factor = float(np.median(eta[clear] / hit_eta[clear])) if clear.any() else 0.0
    in_line = np.corrcoef(_ranks(eta), _ranks(hit_eta))[0, 1] > IN_LINE
    only_eta = {
        "eta looks like theta": from_theta,
        "eta has the wrong sign, or z has": -eta,
        f"eta is off by a factor {factor:.3g}, or z is against x and y": (
            hit_eta if in_line else eta / (factor or 1.0)
        ),
    }
    for text, (a, b) in both.items():
        if _agree(a, hit_eta, angle=False) and _agree(b, hit_phi, angle=True):
            return text
    found = []
    for name, cures, hits in (("phi", only_phi, hit_phi), ("eta", only_eta, hit_eta)):
        texts = [t for t, own in cures.items() if _agree(own, hits, angle=name == "phi")]
        if name in wrong and texts:
            found.append(texts[0])
    if len(found) == len(wrong):
        return " and ".join(found)
    if len(wrong) == 2:
        return (
            "the rows of truth and hits may not belong together, or x, y and z are exchanged; "
            + INSTEAD
        )
    return f"look at its unit and its rows; {INSTEAD}"


def _check_bending(
    plane: str, found: Bending | None, truth: Mapping[str, Floats], limits: Limits, where: str
) -> None:
    if found is None:
        return
    pt = f"{where}: track column 'pt'"
    if found.rank < -0.6 and abs(found.side) < 0.6:
        raise DataError(
            f"{where}: track column 'q': it does not agree with the side to which the hits bend "
            f"({(1 + abs(found.side)) / 2:.0%} of the tracks do, though pT agrees); look at its "
            "signs and its rows"
        )
    if abs(found.side) < MEASURED:
        return  # the bending is not measured well enough to judge pT
    varies = _quartiles(np.log(truth["pt"]))
    if found.rank > 0.3:
        raise DataError(
            f"{pt}: tracks of high pT bend most (rank correlation {found.rank:.2f}): pT looks "
            "like 1/pT; it must be pT in GeV"
        )
    # Where pT hardly varies, neither does the bending; few tracks may be out of order by chance.
    if (varies > 0.3 and found.rank > -0.3 + 2 / math.sqrt(found.tracks)) or (
        varies < 0.05 and found.power > 30
    ):
        raise DataError(
            f"{pt}: it does not agree with how the hits bend (rank correlation {found.rank:.2f} "
            f"instead of about -1); look at its unit and its rows; {INSTEAD}"
        )
    if varies > 0.3 and found.rank < -0.8 and not POWERS[0] < found.power < POWERS[1]:
        raise DataError(
            f"{pt}: the hits bend as its power {-found.power:.2g} instead of -1: it looks like a "
            "logarithm, a root or a square; it must be pT in GeV"
        )
    slope, error = found.p_like
    if slope > 0.6 and slope > 3 * error:
        raise DataError(
            f"{pt}: it rises with |eta| as cosh(eta)^{slope:.2f} against the bending: it looks "
            "like p; it must be pT in GeV"
        )
    _check_field(plane, found, limits.field, where)


def _check_field(plane: str, found: Bending, expected: float | None, where: str) -> None:
    size = abs(found.field)
    shown = f"the hits bend as in a field of {found.field:.3g} T"
    if not FIELDS[0] < size < FIELDS[1]:
        guess = (
            "pT looks like MeV, or positions are a thousandfold too small"
            if size > FIELDS[1]
            else "pT looks like TeV, or positions are a thousandfold too large"
        )
        raise DataError(f"{where}: track column 'pt': {shown}: {guess}; pT in GeV, positions in m")
    if expected is None:
        return
    if found.field * expected < 0:
        raise DataError(
            f"{where}: track column 'q': {shown}, but data.source.limits.field is {expected:g}: "
            "q looks flipped as a whole, or the field has the other sign"
        )
    # The average in a toroid is that of the tracks' eta: only its sign is compared.
    if plane == "xy" and not 1 / FIELD_FACTOR < size / abs(expected) < FIELD_FACTOR:
        raise DataError(
            f"{where}: track column 'pt': {shown}, but data.source.limits.field is {expected:g}: "
            "look at the unit of pT and the scales of the positions"
        )
