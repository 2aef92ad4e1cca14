"""Events in memory: the columnar ragged form that every data source gives."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from headsweep.errors import DataError, UserError

if TYPE_CHECKING:  # what writes frozen features runs where Hydra need not be
    from headsweep.config import SplitConfig

Floats = NDArray[np.float64]

TRACK_COLUMNS = ("eta", "phi", "pt", "q")
"""Columns of ``Events.tracks``, in the order of the head's outputs; pt in GeV, q = +-1."""

SPLITS = ("train", "val", "dev", "test")

ORIGINS = ("train", "val", "test")
"""Splits that an event may come from where the source says it; their places are in
``Events.origin``."""


@dataclass(frozen=True)
class Events:
    """Hits and true tracks of E events; hits and tracks of one event are adjacent.

    Attributes:
        hits: Hit features after the source's scales, float32 [H, F].
        features: Names of the F columns of ``hits``.
        hit_track: For each hit the row of its true track *within its event*, -1 for noise,
            int32 [H].
        hit_offsets: Hits of event e are rows ``hit_offsets[e]:hit_offsets[e + 1]``, int64 [E+1].
        tracks: True tracks, columns ``TRACK_COLUMNS``, float32 [T, 4].
        track_offsets: Tracks of event e, like ``hit_offsets``, int64 [E+1].
        ids: Event numbers, int64 [E]; unique once the events have passed ``gate.read_events``.
        left_out: Number of events that were left out, by the reason (``events/gate.py``).
        origin: Place in ``ORIGINS`` of the split that an event comes from, where the source says
            it, int8 [E]; else None.
    """

    hits: NDArray[np.float32]
    features: tuple[str, ...]
    hit_track: NDArray[np.int32]
    hit_offsets: NDArray[np.int64]
    tracks: NDArray[np.float32]
    track_offsets: NDArray[np.int64]
    ids: NDArray[np.int64]
    left_out: Mapping[str, int] = field(default_factory=dict)
    origin: NDArray[np.int8] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def column(self, name: str) -> NDArray[np.float32]:
        """One hit feature by name, float32 [H]."""
        return self.hits[:, self.features.index(name)]

    def take(self, events: NDArray[np.int64]) -> "Events":
        """The given events (indices into 0..E-1), in the given order."""
        hit_rows, hit_offsets = ragged_rows(self.hit_offsets, events)
        track_rows, track_offsets = ragged_rows(self.track_offsets, events)
        return Events(
            hits=self.hits[hit_rows],
            features=self.features,
            hit_track=self.hit_track[hit_rows],
            hit_offsets=hit_offsets,
            tracks=self.tracks[track_rows],
            track_offsets=track_offsets,
            ids=self.ids[events],
            origin=None if self.origin is None else self.origin[events],
        )


class Source(Protocol):
    """Interface of a data set; each has one file and one YAML.

    It may have ``limits`` besides, the units and ranges of its values (``gate.Limits``); without,
    those for any detector hold. Where its events have an ``origin``, it has ``splits``, the names
    of ``ORIGINS`` that occur. Events are read through ``gate.read_events``, which checks them.

    Attributes:
        plane: Bending plane: ``"rz"`` (toroid) or ``"xy"`` (solenoid).
        pt_edges: Quoted pT bins in GeV; under- and overflow are always shown besides.
        min_bin_tracks: A bin with fewer tracks never gets a verdict.
        not_modelled: Effects that the sample leaves out, for the report; empty if none are known.
    """

    plane: str
    pt_edges: Sequence[float]
    min_bin_tracks: int
    not_modelled: Sequence[str]

    def key(self) -> str:
        """Hash (16 hex) of everything that determines the events."""
        ...

    def test_sample(self) -> "Source | None":
        """Source of independent events of the same kind, for a test; None if there is none."""
        ...

    def load(self, root: Path) -> Events:
        """Read the events, making them first where the source is a simulation.

        Args:
            root: The folder of all output; anything made is cached under ``root/cache/data``.

        Raises:
            DataError: The files cannot be used.
        """
        ...


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def ragged_rows(
    offsets: NDArray[np.int64], groups: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the flat rows of the given groups of a ragged array, and the offsets of the result."""
    lengths = offsets[groups + 1] - offsets[groups]
    new_offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    rows = np.arange(new_offsets[-1]) + np.repeat(offsets[groups] - new_offsets[:-1], lengths)
    return rows, new_offsets


def event_hashes(events: Events) -> NDArray[np.uint64]:
    """Hash of the content of each event, uint64 [E]: what an event is, whatever its number.

    Equal for the same hits and true tracks in any order, under any numbering of events and
    particles and with the columns in any order; different otherwise, but for chance (2^-64 a pair).
    """
    result = _hash_rows(events.hits, events.features, events.hit_offsets)
    result += _hash_rows(events.tracks, TRACK_COLUMNS, events.track_offsets)
    return result


def _hash_rows(
    values: NDArray[np.float32], names: Sequence[str], offsets: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """Sum over the rows of each group of a hash of the row; numpy's integers wrap around."""
    row = np.zeros(len(values), np.uint64)
    for column, name in enumerate(names):
        digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
        factor = np.uint64(int.from_bytes(digest) | 1)
        bits = values[:, column].astype(np.float32) + np.float32(0)  # -0 and 0 are equal
        row += bits.view(np.uint32).astype(np.uint64) * factor
    # The finaliser of splitmix64: without it, a sum over rows would be one over columns as well.
    for shift, multiplier in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        row = (row ^ (row >> np.uint64(shift))) * np.uint64(multiplier)
    row ^= row >> np.uint64(31)
    total = np.zeros(len(row) + 1, np.uint64)
    np.cumsum(row, out=total[1:])
    sums: NDArray[np.uint64] = total[offsets[1:]] - total[offsets[:-1]]
    return sums


def derive(
    name: str, x: NDArray[np.float32], y: NDArray[np.float32], z: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Compute a feature from the position: r, s, theta, phi or eta.

    r = hypot(x, y), s = |(x, y, z)|, theta = arccos(z / s), phi = atan2(y, x),
    eta = -ln tan(theta / 2). Computed in float64: float32 loses eta close to the beam.
    """
    xd, yd, zd = (np.asarray(v, dtype=np.float64) for v in (x, y, z))
    r = np.hypot(xd, yd)
    values = {
        "r": lambda: r,
        "s": lambda: np.hypot(r, zd),
        "theta": lambda: np.arctan2(r, zd),
        "phi": lambda: np.arctan2(yd, xd),
        "eta": lambda: np.arcsinh(zd / np.maximum(r, 1e-12)),
    }
    if name not in values:
        raise UserError(f"unknown derived feature {name!r}; known: {', '.join(values)}")
    return values[name]().astype(np.float32)


def name_event(events: Events, row: int, offsets: NDArray[np.int64]) -> str:
    """The event of a row of hits or tracks, in words; with its place where numbers repeat."""
    place = int(np.searchsorted(offsets, row, side="right")) - 1
    number = events.ids[place]
    unique = np.count_nonzero(events.ids == number) == 1
    return f"event {number}" if unique else f"event {number} (number {place} from 0 in the files)"


def check_events(events: Events, where: str) -> Events:
    """Check events and return them unchanged.

    Args:
        events: The events that a source read.
        where: The file or folder, for the message.

    Raises:
        DataError: Arrays whose shapes disagree, a NaN or infinity, a hit that points to no track,
            a charge other than +-1, or a pT that is not positive. Names event and column.
    """
    _check_shapes(events, where)
    if len(events) == 0:
        raise DataError(f"{where}: no events")
    for values, names, offsets, kind in (
        (events.hits, events.features, events.hit_offsets, "hit"),
        (events.tracks, TRACK_COLUMNS, events.track_offsets, "track"),
    ):
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            row, column = (int(v) for v in bad[0])
            raise DataError(
                f"{where}: {name_event(events, row, offsets)}, {kind} column {names[column]!r}: "
                f"{values[row, column]} is not finite ({len(bad)} such values)"
            )
    n_tracks = np.diff(events.track_offsets)
    limit = np.repeat(n_tracks, np.diff(events.hit_offsets))
    bad_link = (events.hit_track < -1) | (events.hit_track >= limit)
    bad_link &= limit > 0  # events without tracks are left out as a whole
    if bad_link.any():
        row = int(np.argmax(bad_link))
        raise DataError(
            f"{where}: {name_event(events, row, events.hit_offsets)}: a hit belongs to track "
            f"{events.hit_track[row]}, but the event has {limit[row]} track rows"
        )
    for column, name, wrong in (
        (2, "pt", events.tracks[:, 2] <= 0),
        (3, "q", np.abs(events.tracks[:, 3]) != 1),
    ):
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(
                f"{where}: {name_event(events, row, events.track_offsets)}, track column {name!r}: "
                f"{events.tracks[row, column]} is not allowed"
            )
    return events


def _check_shapes(events: Events, where: str) -> None:
    """Refuse arrays that do not fit together, as a source of a user's own may give."""
    counts = {"hits": len(events.hits), "tracks": len(events.tracks)}
    shapes: dict[str, tuple[NDArray[Any], tuple[int, ...], str]] = {
        "hits": (events.hits, (counts["hits"], len(events.features)), "f"),
        "hit_track": (events.hit_track, (counts["hits"],), "i"),
        "tracks": (events.tracks, (counts["tracks"], len(TRACK_COLUMNS)), "f"),
        "hit_offsets": (events.hit_offsets, (len(events) + 1,), "i"),
        "track_offsets": (events.track_offsets, (len(events) + 1,), "i"),
        "ids": (events.ids, (len(events),), "i"),
    }
    for name, (array, shape, kind) in shapes.items():
        if array.shape != shape or array.dtype.kind != kind:
            raise DataError(
                f"{where}: {name} is {array.dtype} {array.shape}, but must be "
                f"{'float' if kind == 'f' else 'int'} {shape}"
            )
    for name, offsets in (("hits", events.hit_offsets), ("tracks", events.track_offsets)):
        if offsets[0] != 0 or offsets[-1] != counts[name] or (np.diff(offsets) < 0).any():
            raise DataError(
                f"{where}: the offsets of the {name} must rise from 0 to {counts[name]}"
            )
    if len(set(events.features)) < len(events.features):
        raise DataError(f"{where}: a hit feature appears twice: {', '.join(events.features)}")


def splits_of(events: Events, split: "SplitConfig") -> dict[str, NDArray[np.int64]]:
    """Indices of the events of each split.

    Where the source says where an event comes from, its train trains and its test tests; the events
    of its val are cut into val and dev by their shares.

    Raises:
        UserError: A split that training needs would be empty, or folds are asked of given splits.
    """
    if events.origin is None:
        return split_events(len(events), **asdict(split))
    if split.folds is not None:
        raise UserError("data.split.folds: these events have given splits; use folds=null")
    train, judged, test = (np.flatnonzero(events.origin == number) for number in range(3))
    order = np.random.default_rng(split.seed).permutation(judged)
    n_val = round(len(judged) * split.val / (split.val + split.dev))
    found = {"train": train, "val": order[:n_val], "dev": order[n_val:], "test": test}
    for name in ("train", "val", "dev"):
        if len(found[name]) == 0:
            raise UserError(
                f"data.split: no events for {name!r}: of the source's own splits {len(train)} "
                f"events are of train and {len(judged)} of val, which gives val and dev"
            )
    return {name: np.sort(found[name]) for name in SPLITS}


def has_test(source: Source, split: "SplitConfig") -> bool:
    """Whether there are events for a test: a new sample, or a split; reads no events."""
    if source.test_sample() is not None:
        return True
    own = getattr(source, "splits", None)
    return "test" in own if own is not None else split.folds is None and split.test > 0


def split_events(
    n_events: int,
    *,
    val: float,
    dev: float,
    test: float,
    seed: int,
    folds: int | None = None,
    fold: int = 0,
) -> dict[str, NDArray[np.int64]]:
    """Draw disjoint event indices for each split, the same for the same seed.

    Without ``folds`` the fractions cut one permutation. With ``folds``, dev is the held-out
    fold and val is the fraction ``val`` of the rest (for early stopping inside the fold).

    Raises:
        UserError: A split that training needs would be empty.
    """
    order = np.random.default_rng(seed).permutation(n_events)
    if folds is None:
        sizes = [round(n_events * f) for f in (val, dev, test)]
        bounds = np.cumsum(sizes)
        parts = dict(zip(("val", "dev", "test", "train"), np.split(order, bounds), strict=True))
    else:
        chunks = np.array_split(order, folds)
        rest = np.concatenate([c for i, c in enumerate(chunks) if i != fold])
        n_val = round(len(rest) * val)
        parts = {"dev": chunks[fold], "val": rest[:n_val], "train": rest[n_val:]}
        parts["test"] = order[:0]
    for name in ("train", "val", "dev"):
        if len(parts[name]) == 0:
            raise UserError(f"data.split: {n_events} events leave no events for {name!r}")
    return {name: np.sort(parts[name]) for name in SPLITS}
