"""The selection of true tracks: cuts on pT, eta, hits and stations."""

import numpy as np
from numpy.typing import NDArray

from headsweep.config import SelectionConfig
from headsweep.errors import UserError
from headsweep.events.base import Events

STATION = "stationIndex"
"""The hit feature that tells stations apart, of drift tubes and trigger chambers alike."""


def true_hits(events: Events) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Hits that belong to a track, in their order.

    Returns:
        Their rows in ``Events.hits`` and the rows of their tracks in ``Events.tracks``, int64 [H].
    """
    hits = np.flatnonzero(events.hit_track >= 0)
    event = np.searchsorted(events.hit_offsets, hits, side="right") - 1
    return hits, events.track_offsets[event] + events.hit_track[hits]


def selected(events: Events, cuts: SelectionConfig) -> NDArray[np.bool_]:
    """True for tracks whose truth and true hits pass all cuts, bool [T].

    Raises:
        UserError: Stations are asked for, but the hits have none.
    """
    return np.concatenate([_selected(part, cuts) for _, part in events.blocks()])


def _selected(events: Events, cuts: SelectionConfig) -> NDArray[np.bool_]:
    """The same for events in memory."""
    eta, pt = np.abs(events.tracks[:, 0]), events.tracks[:, 2]
    passed = (eta >= cuts.min_abs_eta) & (pt >= cuts.min_pt)
    if cuts.max_abs_eta is not None:
        passed &= eta <= cuts.max_abs_eta
    hits, track = true_hits(events)
    passed &= np.bincount(track, minlength=len(passed)) >= cuts.min_hits
    if cuts.min_stations > 0:
        if STATION not in events.features:
            raise UserError(
                f"data.selection.min_stations={cuts.min_stations}: the hits have no {STATION!r}, "
                "which tells stations apart; use data.selection.min_stations=0, or a source whose "
                f"features have it (here: {', '.join(events.features)})"
            )
        names, station = np.unique(events.column(STATION)[hits], return_inverse=True)
        found, n_hits = np.unique(track * len(names) + station, return_counts=True)
        good = found[n_hits >= cuts.min_station_hits] // max(len(names), 1)
        passed &= np.bincount(good, minlength=len(passed)) >= cuts.min_stations
    return passed


def words(cuts: SelectionConfig) -> str:
    """Describe a selection in words, ``at least 9 hits, pT ≥ 5 GeV``; empty without cuts."""
    low = f"{cuts.min_abs_eta:g} ≤ " if cuts.min_abs_eta > 0 else ""
    high = "" if cuts.max_abs_eta is None else f" ≤ {cuts.max_abs_eta:g}"
    stations = f"at least {cuts.min_stations} stations with at least {cuts.min_station_hits} hits"
    parts = {
        f"at least {cuts.min_hits} hits": cuts.min_hits > 0,
        f"{low}|eta|{high}": bool(low or high),
        f"pT ≥ {cuts.min_pt:g} GeV": cuts.min_pt > 0,
        f"{stations} each": cuts.min_stations > 0,
    }
    return ", ".join(text for text, asked in parts.items() if asked)
