"""Events in columnar ragged form, as every data source gives them, in memory or in files."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from headsweep.errors import DataError, UserError
from headsweep.events.mapped import forget
from headsweep.files import digest

if TYPE_CHECKING:  # what writes frozen features runs where Hydra need not be
    from headsweep.config import SplitConfig

Floats = NDArray[np.float64]

TRACK_COLUMNS = ("eta", "phi", "pt", "q")
"""Columns of ``Events.tracks``, in the order of the head's outputs; pt in GeV, q = +-1."""

SPLITS = ("train", "val", "dev", "test")

ORIGINS = ("train", "val", "test")
"""Splits that an event may come from where the source says it; their places are in
``Events.origin``."""


NUMBERS = 10**12
"""Numbers of val begin here in a recording, those of test at twice this, where each split has its
own numbers."""

BLOCK_HITS = 2**20
"""Hits that are in memory at once, about; 100 MB of 23 features."""

BLOCK_STEP = 1024
"""Blocks begin at multiples of so many events, as do the batches of a backbone."""


@dataclass(frozen=True)
class Events:
    """Hits and true tracks of E events; hits and tracks of one event are adjacent.

    Of more than ``BLOCK_HITS`` events ``hits`` and ``hit_track`` may be mapped from files
    (``spool.py``). Whatever reads all hits takes them by ``blocks``.

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
        scratch: Folder of the files that ``hits`` is mapped from; None for hits in memory.
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
    scratch: Path | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def column(self, name: str) -> NDArray[np.float32]:
        """One hit feature by name, float32 [H]."""
        return self.hits[:, self.features.index(name)]

    def blocks(self) -> Iterator[tuple[slice, "Events"]]:
        """Consecutive events of about ``BLOCK_HITS`` hits, in memory, and their places."""
        for rows in cut(np.diff(self.hit_offsets)):
            hits, tracks = (
                slice(offsets[rows.start], offsets[rows.stop])
                for offsets in (self.hit_offsets, self.track_offsets)
            )
            part = Events(
                hits=self.hits[hits],
                features=self.features,
                hit_track=self.hit_track[hits],
                hit_offsets=self.hit_offsets[rows.start : rows.stop + 1] - hits.start,
                tracks=self.tracks[tracks],
                track_offsets=self.track_offsets[rows.start : rows.stop + 1] - tracks.start,
                ids=self.ids[rows],
                origin=None if self.origin is None else self.origin[rows],
            )
            if self.scratch is not None:
                part = replace(part, hits=np.array(part.hits), hit_track=np.array(part.hit_track))
                forget(self.hits, self.hit_track)
            yield rows, part

    def take(self, events: NDArray[np.int64]) -> "Events":
        """The given events (indices into 0..E-1), in the given order, in memory."""
        hit_rows, hit_offsets = ragged_rows(self.hit_offsets, events)
        track_rows, track_offsets = ragged_rows(self.track_offsets, events)
        found = Events(
            hits=self.hits[hit_rows],
            features=self.features,
            hit_track=self.hit_track[hit_rows],
            hit_offsets=hit_offsets,
            tracks=self.tracks[track_rows],
            track_offsets=track_offsets,
            ids=self.ids[events],
            origin=None if self.origin is None else self.origin[events],
        )
        forget(self.hits, self.hit_track)
        return found


def own_number(number: int, origin: int) -> int:
    """Number of an event in the file of its split, which recordings set apart by ``NUMBERS``.

    Args:
        number: In ``Events.ids``.
        origin: In ``Events.origin``.
    """
    number, first = int(number), int(origin) * NUMBERS
    return number - first if first <= number < first + NUMBERS else number


def cut(n_hits: NDArray[np.int64]) -> Iterator[slice]:
    """Cut events with so many hits each into blocks: ``BLOCK_STEP`` events, or more while they fit.

    Yields:
        Slices of consecutive events; one, if there are no events.
    """
    ends = np.concatenate([[0], np.cumsum(n_hits)])
    start = 0
    while start < len(n_hits) or start == 0:
        fit = int(np.searchsorted(ends, ends[start] + BLOCK_HITS, side="right")) - 1 - start
        step = max(fit // BLOCK_STEP, 1) * BLOCK_STEP
        if fit + start == len(n_hits):
            step = max(fit, 1)
        stop = min(start + step, len(n_hits))
        yield slice(start, stop)
        start = max(stop, 1)


class Source(Protocol):
    """Interface of a data set; each has one file and one YAML.

    It may have ``limits`` besides, the units and ranges of its values (``gate.Limits``); without,
    those for any detector hold. Where its events have an ``origin``, it has ``splits``, the names
    of ``ORIGINS`` that occur. Where a hit stands once for each track that has it, its
    ``hits_by_track`` is true. Of a toroid it may have ``coils``, their number, by which the field
    repeats in phi. Events are read through ``gate.read_events``, which checks them.

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
    """SHA-256 of a file's content, see ``files.digest``.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        return digest(path)
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
    result = np.zeros(len(events), np.uint64)
    for rows, part in events.blocks():
        result[rows] = _hash_rows(part.hits, part.features, part.hit_offsets)
        result[rows] += _hash_rows(part.tracks, TRACK_COLUMNS, part.track_offsets)
    return result


def track_hashes(tracks: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Hash of each true track [T, 4], uint64 [T]: by them two recordings of one event are one.

    Hits do not tell, as a filter or the padding of a batch changes them, and nor do numbers.
    """
    return row_hashes(with_phi_in_turn(tracks), TRACK_COLUMNS)


def with_phi_in_turn(tracks: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same tracks with phi in [-pi, pi]; values that lie there already keep their bits."""
    column = TRACK_COLUMNS.index("phi")
    beyond = np.abs(tracks[:, column]) > np.float32(np.pi)
    if not beyond.any():
        return tracks
    turned = tracks[beyond, column].astype(np.float64)
    tracks = tracks.copy()
    tracks[beyond, column] = np.arctan2(np.sin(turned), np.cos(turned))
    return tracks


def _hash_rows(
    values: NDArray[np.float32], names: Sequence[str], offsets: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """Sum over the rows of each group of a hash of the row; numpy's integers wrap around."""
    total = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(row_hashes(values, names), out=total[1:])
    sums: NDArray[np.uint64] = total[offsets[1:]] - total[offsets[:-1]]
    return sums


def row_hashes(values: NDArray[np.float32], names: Sequence[str]) -> NDArray[np.uint64]:
    """Hash of each row of a table with named columns, in any order of the columns, uint64 [R]."""
    row = np.zeros(len(values), np.uint64)
    for column, name in enumerate(names):
        digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
        factor = np.uint64(int.from_bytes(digest) | 1)
        bits = values[:, column].astype(np.float32) + np.float32(0)  # -0 and 0 are equal
        row += bits.view(np.uint32).astype(np.uint64) * factor
    # The finaliser of splitmix64: without it, a sum over rows would be one over columns as well.
    for shift, multiplier in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        row = (row ^ (row >> np.uint64(shift))) * np.uint64(multiplier)
    return row ^ (row >> np.uint64(31))


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
