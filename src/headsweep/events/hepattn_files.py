"""Writer and reader of the ATLAS-muon HDF5 layout, the one of the upstream framework.

A directory holds ``metadata.yaml`` (feature names, list of HDF5 files), two index arrays with
the file and the row of each event, and the HDF5 files with padded hits and tracks. The reader
leaves units and meaning alone; ``hepattn.py`` makes events.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml
from numpy.typing import NDArray

from headsweep.errors import DataError, reading

HIT_PREFIX, TRACK_PREFIX = "spacePoint_", "truthMuon_"
LINK = "truthLink"
HITS = (
    *(f"globEdge{end}{axis}" for end in ("High", "Low") for axis in "XYZ"),
    "time",
    "driftR",
    "covXX",
    "covXY",
    "covYX",
    "covYY",
    "channel",
    "layer",
    "stationPhi",
    "stationEta",
    "stationIndex",
    "technology",
    LINK,
)
"""Columns that are written, without their prefix. hepattn itself has ``readOutSide`` besides."""
TRACKS = ("pt", "eta", "phi", "q")
"""Columns of ``Chunk.tracks``, without their prefix."""

MDT, RPC, TGC = 0, 2, 3
"""Values of ``technology``: drift tubes (precision), barrel and end-cap trigger chambers."""

METADATA = "metadata.yaml"
FILE_INDEX, ROW_INDEX = "event_file_indices.npy", "event_row_indices.npy"
DATASETS = {
    "event_numbers": (1, "iu"),
    "num_hits": (1, "iu"),
    "num_tracks": (1, "iu"),
    "hits": (3, "iuf"),
    "tracks": (3, "iuf"),
}
"""Of each HDF5 file: dimensions and kinds of number."""
OPTIONAL = ("event_numbers",)
"""Upstream's reader does without them; all numbers are then 0."""
DENSEST = 2000
"""More bytes than a compressed byte can hold (gzip: 1032); a shape that needs more is damage."""
MOST_ROWS = 2**40
"""More rows than any file has."""
PACKED: dict[str, Any] = {"compression": "lzf", "shuffle": True, "fletcher32": True}
SLAB = 128
"""Events that HDF5 packs together."""
READ_BYTES = 2**26
"""Padded hits that are read at once."""


@dataclass(frozen=True)
class Chunk:
    """Consecutive events in disk units (mm, mm^2, ns, GeV), one HDF5 file.

    Attributes:
        hits: Columns ``HITS``, or those that were asked for, float32 [H, C].
        hit_offsets: Hits of event e are rows ``hit_offsets[e]:hit_offsets[e + 1]``, int64 [E+1].
        tracks: Columns ``TRACKS``, float32 [T, 4].
        track_offsets: Tracks of event e, likewise, int64 [E+1].
        numbers: Event numbers, int64 [E].
    """

    hits: NDArray[np.float32]
    hit_offsets: NDArray[np.int64]
    tracks: NDArray[np.float32]
    track_offsets: NDArray[np.int64]
    numbers: NDArray[np.int64]


def write_hepattn(folder: Path, chunks: Iterable[Chunk]) -> None:
    """Write events into an existing, empty folder, one HDF5 file for each chunk.

    The datasets carry Fletcher-32 checksums, so that damage is an error on reading.

    Args:
        folder: The folder to write to; see ``files.atomic_dir`` for a write that is all or nothing.
        chunks: At least one, none empty. May be a generator: only one is held at a time.
    """
    summary, files, rows = [], [], []
    for index, chunk in enumerate(chunks):
        name = f"events_{index:03d}.h5"
        _write_chunk(folder / name, chunk)
        count = len(chunk.numbers)
        summary.append({"h5_file": name, "event_count": count})
        files.append(np.full(count, index, np.int32))
        rows.append(np.arange(count, dtype=np.int32))
    np.save(folder / FILE_INDEX, np.concatenate(files))
    np.save(folder / ROW_INDEX, np.concatenate(rows))
    metadata = {
        "hit_features": [HIT_PREFIX + name for name in HITS],
        "track_features": [TRACK_PREFIX + name for name in TRACKS],
        "event_mapping": {"total_events": sum(map(len, rows)), "chunk_summary": summary},
    }
    (folder / METADATA).write_text(yaml.safe_dump(metadata, sort_keys=False))


def _write_chunk(path: Path, chunk: Chunk) -> None:
    # In memory, as HDF5 crashes the process where the disk is full.
    with h5py.File(path, "w", driver="core", backing_store=False) as file:
        for kind, values, offsets in (
            ("hits", chunk.hits, chunk.hit_offsets),
            ("tracks", chunk.tracks, chunk.track_offsets),
        ):
            counts = np.diff(offsets)
            valid = np.arange(max(counts.max(initial=0), 1)) < counts[:, None]
            padded = np.zeros((*valid.shape, values.shape[1]), np.float32)
            padded[valid] = values
            slab = (min(len(padded), SLAB), *padded.shape[1:])
            file.create_dataset(kind, data=padded, chunks=slab, **PACKED)
            file.create_dataset(f"num_{kind}", data=counts.astype(np.int32), fletcher32=True)
        file.create_dataset("event_numbers", data=chunk.numbers, fletcher32=True)
        file.flush()
        path.write_bytes(file.id.get_file_image())


def data_files(folder: Path) -> list[Path]:
    """List the HDF5 files that the metadata names.

    Raises:
        DataError: The metadata cannot be read or lists none.
    """
    return _chunk_files(folder, _read_metadata(folder))


def read_chunks(
    folder: Path, columns: Sequence[str] = HITS
) -> Iterator[tuple[Path, NDArray[np.int64], Chunk]]:
    """Read a directory, some ``READ_BYTES`` of an HDF5 file at a time.

    Args:
        folder: The directory.
        columns: Columns of ``Chunk.hits``, without their prefix; no other one need be there.

    Yields:
        The file, positions of events in the index arrays, and those events; in the order of files
        and rows.

    Raises:
        DataError: A file or column is missing or damaged, or shapes or indices disagree.
    """
    metadata = _read_metadata(folder)
    paths = _chunk_files(folder, metadata)
    hits = _columns(folder, metadata, "hit_features", HIT_PREFIX, columns)
    tracks = _columns(folder, metadata, "track_features", TRACK_PREFIX, TRACKS)
    files, rows = _read_index(folder / FILE_INDEX), _read_index(folder / ROW_INDEX)
    if len(files) != len(rows):
        raise DataError(
            f"{folder}: {FILE_INDEX} has {len(files)} events, {ROW_INDEX} has {len(rows)}"
        )
    _check_range(files, len(paths), str(folder / FILE_INDEX), "files")
    _, first, counts = np.unique(
        files * (rows.max(initial=0) + 1) + rows, return_index=True, return_counts=True
    )
    if (counts > 1).any():
        double = first[np.argmax(counts > 1)]
        raise DataError(
            f"{folder / ROW_INDEX}: entry {double}, row {rows[double]} of "
            f"{paths[files[double]].name}, is there more than once; "
            "training and evaluation would share an event"
        )
    for index in np.unique(files):
        positions = np.flatnonzero(files == index)
        positions = positions[np.argsort(rows[positions], kind="stable")]
        for part, chunk in _read_file(paths[index], rows[positions], positions, hits, tracks):
            yield paths[index], positions[part], chunk


def _read_metadata(folder: Path) -> dict[str, Any]:
    path = folder / METADATA
    if not path.is_file():
        raise DataError(f"{path}: cannot be read (no such file); is this the data's folder?")
    with reading(path, "it must be the YAML of the layout", DataError):
        metadata = yaml.safe_load(path.read_text())
    if not isinstance(metadata, dict):
        raise DataError(f"{path}: must be a mapping with hit_features, track_features, ...")
    return metadata


def _chunk_files(folder: Path, metadata: dict[str, Any]) -> list[Path]:
    where = f"{folder / METADATA}: event_mapping.chunk_summary"
    try:
        names = [Path(entry["h5_file"]) for entry in metadata["event_mapping"]["chunk_summary"]]
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(f"{where} must list entries with an h5_file") from error
    for name in names:
        if name.is_absolute() or ".." in name.parts:
            raise DataError(f"{where}: h5_file {str(name)!r} must be inside the directory")
    paths = [folder / name for name in names]
    places = [path.resolve() for path in paths]
    for index, path in enumerate(paths):
        if places[index] in places[:index]:
            raise DataError(
                f"{where}: {path.name} is listed more than once; training and evaluation would "
                "share its events"
            )
    return paths


@dataclass(frozen=True)
class _Columns:
    """Names of all columns of a dataset, and the places of the kept ones among them."""

    names: list[str]
    kept: list[int]


def _columns(
    folder: Path, metadata: dict[str, Any], key: str, prefix: str, needed: Sequence[str]
) -> _Columns:
    names = metadata.get(key)
    if not isinstance(names, list) or len(set(map(str, names))) != len(names):
        raise DataError(f"{folder / METADATA}: {key} must be a list of different names")
    for name in needed:
        if prefix + name not in names:
            raise DataError(f"{folder / METADATA}: {key} lacks the column {prefix + name!r}")
    return _Columns([str(name) for name in names], [names.index(prefix + name) for name in needed])


def _read_index(path: Path) -> NDArray[np.int64]:
    if not path.is_file():
        raise DataError(f"{path}: cannot be read (no such file)")
    with reading(path, "it is truncated or damaged: write the folder again", DataError):
        values = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: checks the length first
        whole = isinstance(values, np.memmap) and values.offset + values.nbytes
    if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype.kind not in "iu":
        raise DataError(f"{path}: must be a one-dimensional array of integers")
    if whole != path.stat().st_size:
        raise DataError(f"{path}: cannot be read (its header does not fit its length)")
    wrong = (values < 0) | (values > MOST_ROWS)
    if wrong.any():
        entry = int(np.argmax(wrong))
        raise DataError(f"{path}: entry {entry} is {values[entry]}, must be 0 at least, a place")
    return np.array(values, np.int64)


def _check_range(values: NDArray[np.int64], limit: int, where: str, what: str) -> None:
    if (values >= limit).any():
        entry = int(np.argmax(values >= limit))
        raise DataError(f"{where}: entry {entry} is {values[entry]}, but there are {limit} {what}")


def _read_file(
    path: Path,
    rows: NDArray[np.int64],
    entries: NDArray[np.int64],
    hits: _Columns,
    tracks: _Columns,
) -> Iterator[tuple[slice, Chunk]]:
    """Read the given rising rows of one HDF5 file; yields which of them, and their events."""
    if not path.is_file():
        raise DataError(f"{path}: missing, but {METADATA} names it")
    mend = "truncated or damaged: write it again"
    with reading(path, mend, DataError):
        file = h5py.File(path, "r")
    with file:
        with reading(path, mend, DataError):
            found = _check_datasets(file, path, mend)
            counts = {kind: found[f"num_{kind}"][()] for kind in ("hits", "tracks")}
            numbers = np.zeros(len(counts["hits"]), np.int64)
            if "event_numbers" in found:
                numbers = found["event_numbers"][()].astype(np.int64)
        for kind, columns in (("hits", hits), ("tracks", tracks)):
            shape = found[kind].shape
            _check_padded(path, kind, shape, counts[kind], len(numbers), columns.names)
        if rows[-1] >= len(numbers):
            raise DataError(
                f"{path.parent / ROW_INDEX}: entry {entries[-1]} is {rows[-1]}, but {path.name} "
                f"has {len(numbers)} rows"
            )
        per_event = max(found["hits"].nbytes // max(len(numbers), 1), 1)
        most = max(READ_BYTES // per_event // SLAB, 1) * SLAB
        for part in _spans(rows, most):
            own = rows[part]
            flat = {}
            for kind, columns in (("hits", hits), ("tracks", tracks)):
                with reading(path, mend, DataError):
                    padded = found[kind][own[0] : own[-1] + 1]
                flat[kind] = _ragged(padded, own - own[0], counts[kind][own], columns.kept)
            yield part, Chunk(*flat["hits"], *flat["tracks"], numbers[own])


def _spans(rows: NDArray[np.int64], most: int) -> Iterator[slice]:
    """Cut rising rows where the file does at multiples of ``most``."""
    places = np.flatnonzero(np.diff(rows // most, prepend=-1))
    for start, stop in pairwise([*places.tolist(), len(rows)]):
        yield slice(start, stop)


def _check_datasets(file: h5py.File, path: Path, mend: str) -> dict[str, h5py.Dataset]:
    """The ``DATASETS`` of a file; what they declare is checked before memory is taken."""
    found = {name: file[name] for name in DATASETS if name in file}
    for name, (ndim, kinds) in DATASETS.items():
        if name not in found:
            if name in OPTIONAL:
                continue
            raise DataError(f"{path}: dataset {name!r} is missing")
        array = found[name]
        if not isinstance(array, h5py.Dataset):
            raise DataError(f"{path}: {name!r} must be a dataset")
        if array.ndim != ndim or array.dtype.kind not in kinds:
            raise DataError(
                f"{path}: dataset {name!r} must have {ndim} dimensions and "
                f"{'numbers' if 'f' in kinds else 'integers'}, but is {array.dtype} "
                f"{array.shape}"
            )
        if array.nbytes > DENSEST * array.id.get_storage_size() + 2**20:
            raise DataError(
                f"{path}: dataset {name!r} declares the shape {array.shape}, but only "
                f"{array.id.get_storage_size():,} bytes are stored; {mend}"
            )
    return found


def _check_padded(
    path: Path,
    kind: str,
    shape: tuple[int, ...],
    counts: NDArray[Any],
    n_events: int,
    names: Sequence[str],
) -> None:
    """Check that a padded dataset [E, M, F], its counts [E] and its F names agree."""
    if not n_events == shape[0] == len(counts):
        raise DataError(
            f"{path}: {n_events} events, but {shape[0]} rows in {kind!r} and "
            f"{len(counts)} in 'num_{kind}'"
        )
    if shape[2] != len(names):
        raise DataError(
            f"{path}: dataset {kind!r} has {shape[2]} columns, but {METADATA} names "
            f"{len(names)}: {', '.join(names)}"
        )
    wrong = (counts < 0) | (counts > shape[1])
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{path}: row {row}: num_{kind} is {counts[row]}, but {kind!r} has room for {shape[1]}"
        )


def _ragged(
    padded: NDArray[Any], rows: NDArray[np.int64], counts: NDArray[Any], columns: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Take the valid entries of the given rows, float32 [sum of counts, F], and their offsets."""
    counts = counts.astype(np.int64)
    event, slot = np.nonzero(np.arange(padded.shape[1]) < counts[:, None])
    with np.errstate(over="ignore"):  # an infinity is reported with its event and column later
        flat = padded[rows[event], slot][:, columns].astype(np.float32, copy=False)
    return flat, np.concatenate([[0], np.cumsum(counts)])
