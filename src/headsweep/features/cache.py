"""The cache of frozen features on disk: ragged, memory-mapped, checksummed, shared by all runs.

The cache of one combination of data, split, selection, backbone, hit features and threshold is a
folder, ``root/cache/features/<key>``, with ``meta.json``, a folder of arrays for each split and the
checksums of them all. It is made by ``extract.py``. A simulated test sample is made later by
``other_events.py``, in a folder ``<key>-test`` beside it.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from headsweep.backbone.base import Backbone, Recorder
from headsweep.config import SelectionConfig
from headsweep.errors import DataError, UserError
from headsweep.events.base import Floats
from headsweep.events.mapped import forget
from headsweep.files import cache_folder, check_seal, seal, write_atomic

ROWS = 2**17
"""Rows of a mapped array that are in memory at once."""

SEEN = "seen.npy"
"""What a recorded backbone has seen, ``base.Backbone.seen``, beside the splits."""

REBUILD = "run the training command again: it rebuilds the cache and keeps finished members"
"""Advice for a cache that is gone or damaged."""


@dataclass(frozen=True)
class Features:
    """One split: T tracks with H assigned hits in all; memory-mapped if loaded.

    Attributes:
        raw: Hit features, standardised, float32 [H, F].
        encoded: Encoded hits, standardised, float32 [H, D].
        p: Assignment probability, at least the threshold, float32 [H].
        offsets: Hits of track t are rows ``offsets[t]:offsets[t + 1]``, int64 [T+1].
        query: Track queries, standardised, float32 [T, D].
        truth: True eta, phi, pt (GeV) and q, float32 [T, 4].
        event: Event number of each track, int64 [T].
        axis: Mean eta and circular mean phi of the track's hits, both weighted by p;
            0, 0 for a track without hits, float32 [T, 2].
        analytic: eta, phi, pt and q estimated from the assigned hits by formula, NaN where
            that is not possible, float32 [T, 4].
        classical: The same from the true hits: the classical reference, float32 [T, 4].
    """

    raw: NDArray[np.float32]
    encoded: NDArray[np.float32]
    p: NDArray[np.float32]
    offsets: NDArray[np.int64]
    query: NDArray[np.float32]
    truth: NDArray[np.float32]
    event: NDArray[np.int64]
    axis: NDArray[np.float32]
    analytic: NDArray[np.float32]
    classical: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.event)

    @property
    def size(self) -> int:
        """Bytes of all arrays."""
        return sum(getattr(self, f.name).nbytes for f in fields(self))


@dataclass(frozen=True)
class ColumnScale:
    """Mean and standard deviation of each column on the training split; std 0 for a constant."""

    mean: list[float]
    std: list[float]

    @classmethod
    def of(cls, values: NDArray[np.float32]) -> "ColumnScale":
        """Compute the statistics over the rows of ``values`` [n, C], n at least 1."""
        mean = _total(values, np.zeros(values.shape[1]), power=1) / len(values)
        std = np.sqrt(_total(values, mean, power=2) / len(values))
        std[std <= 1e-6 * np.abs(mean)] = 0.0  # all that rounding leaves of a constant column
        return cls(mean.tolist(), std.tolist())

    def apply(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standardise the columns of ``values`` [n, C]; a constant column becomes 0."""
        std = np.array(self.std)
        inverse = np.divide(1.0, std, out=np.zeros_like(std), where=std > 0)
        scaled: NDArray[np.float32] = ((values - np.array(self.mean)) * inverse).astype(np.float32)
        return scaled


def _total(values: NDArray[np.float32], mean: NDArray[np.float64], power: int) -> Floats:
    """Sum over rows of powers of their distance to a mean, row by row; ``ROWS`` in memory."""
    total = np.zeros(values.shape[1])
    for rows in chunks(len(values)):
        part = (values[rows] - mean) ** power
        part[0] += total
        total = part.sum(axis=0)
        forget(values)
    return total


def chunks(n_rows: int, share: int = 1) -> Iterator[slice]:
    """Slices of ``ROWS`` rows, or of a share of them where a row stands for so many."""
    step = max(ROWS // share, 1)
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


STANDARDISED = ("raw", "encoded", "query")
"""Arrays of a split that have a ``ColumnScale``."""


def standardised(features: Features, scales: Mapping[str, ColumnScale]) -> Features:
    """The same with raw, encoded and query standardised."""
    raw, encoded, query = (scales[n].apply(getattr(features, n)) for n in STANDARDISED)
    return replace(features, raw=raw, encoded=encoded, query=query)


@dataclass(frozen=True)
class Meta:
    """Facts about a cache, ``meta.json``.

    Attributes:
        key: Its key, and the name of its folder.
        data_key, backbone_key: Keys of the source and of the checkpoint.
        features: ``features.name``.
        feature_names: The F columns of ``raw``.
        threshold: Least p of an assigned hit.
        dim: D.
        plane: Bending plane of the source, ``rz`` or ``xy``.
        pt_edges: Quoted pT bins of the source, GeV.
        min_bin_tracks: Least tracks of a bin with a verdict.
        not_modelled: Effects that the sample leaves out.
        selection: Cuts on true tracks; tracks that fail count in no figure but ``selected``.
        selected: Share of the true tracks that pass the cuts, by split.
        left_out: Events of the source that no split has, by the reason (``events/gate.py``).
        n_events: Events with a track that passes the cuts, by split.
        n_tracks: Tracks that the backbone found, which are those in the cache, by split.
        efficiency: Share of the true tracks that were found, by split.
        by_abs_eta: Found and all true tracks in each bin of ``bins.ABS_ETA``, by split.
        hit_purity: Share of the assigned hits that truly belong to their track, on val.
        hit_efficiency: Share of the hits of true tracks that are assigned to them, on val.
        bytes_per_track: Size of the arrays over the number of tracks.
        scales: ``ColumnScale`` of raw, encoded and query, from the training split.
        coils: Number of coils of the source's toroid, of which ``harmonics`` depend; else None.
    """

    key: str
    data_key: str
    backbone_key: str
    features: str
    feature_names: list[str]
    threshold: float
    dim: int
    plane: str
    pt_edges: list[float]
    min_bin_tracks: int
    not_modelled: list[str]
    selection: SelectionConfig
    selected: dict[str, float]
    left_out: dict[str, int]
    n_events: dict[str, int]
    n_tracks: dict[str, int]
    efficiency: dict[str, float]
    by_abs_eta: dict[str, list[list[int]]]
    hit_purity: float
    hit_efficiency: float
    bytes_per_track: float
    scales: dict[str, ColumnScale]
    coils: int | None = None  # caches of other features have no such fact


class FeatureSet:
    """A cache of frozen features, verified when it is opened.

    Attributes:
        folder: Its folder.
        meta: Facts about it.
    """

    def __init__(self, folder: Path) -> None:
        """Open a cache.

        Raises:
            DataError: It is gone, incomplete or damaged; ``extract.build`` makes it anew.
        """
        self.folder = folder
        try:
            check_seal(folder)
        except DataError as error:
            raise DataError(f"{error}; {REBUILD}") from error
        try:
            content = json.loads((folder / "meta.json").read_bytes())
            scales = {name: ColumnScale(**scale) for name, scale in content.pop("scales").items()}
            selection = SelectionConfig(**content.pop("selection"))
            self.meta = Meta(**content, scales=scales, selection=selection)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{folder}/meta.json cannot be read ({error}); {REBUILD}") from error
        if self.meta.key != folder.name:
            raise DataError(f"{folder}: its key is {self.meta.key}; {REBUILD}")

    def beside(self, split: str) -> Path:
        """Folder of a split that was made after the others, such as a new test sample."""
        return self.folder.with_name(f"{self.folder.name}-{split}")

    def holding(self, split: str) -> "FeatureSet":
        """Cache with the given split: this one, or the one that was made for it later."""
        later = self.beside(split)
        return FeatureSet(later) if later.is_dir() else self

    def load(self, split: str) -> Features:
        """Load the features of ``train``, ``val``, ``dev`` or ``test``.

        Raises:
            UserError: The cache has no such split.
            DataError: The split was made later, and is damaged.
        """
        cache = self.holding(split)
        if split not in cache.meta.n_tracks:
            raise UserError(
                f"{self.folder} has no split {split!r}, only {', '.join(self.meta.n_tracks)}; "
                "data.split says which are made"
            )
        return mapped(cache.folder / split)


def open_cache(root: Path, key: str) -> FeatureSet:
    """Open the cache of a run, by the key in its ``job.json``.

    Raises:
        DataError: It is gone, incomplete or damaged.
    """
    return FeatureSet(cache_folder(root, "features") / key)


def trained_elsewhere(root: Path, backbone: Backbone) -> NDArray[np.uint64] | None:
    """Hashes of the true tracks that trained a recorded backbone, of all caches below a root.

    Another recording of the same model may say something else of an event.

    Args:
        root: The folder of all output.
        backbone: The backbone; of one that is not recorded the result is None.
    """
    if not isinstance(backbone, Recorder):
        return None
    found, key = [np.zeros(0, np.uint64)], backbone.key()
    for path in cache_folder(root, "features").glob("*/meta.json"):
        with suppress(OSError, ValueError, KeyError):  # a damaged one is made anew by its own job
            if json.loads(path.read_bytes())["backbone_key"] == key:
                found.append(np.load(path.parent / SEEN))
    return np.concatenate(found)


def mapped(folder: Path, mode: Literal["r+", "c"] = "c") -> Features:
    """The features of one split's folder, mapped.

    Args:
        folder: The folder.
        mode: ``c`` keeps changes in memory, ``r+`` writes them to the files.
    """
    return Features(
        **{f.name: np.load(folder / f"{f.name}.npy", mmap_mode=mode) for f in fields(Features)}
    )


class FeatureWriter:
    """Writes the features of a split, one block of tracks after another; a context manager.

    Args:
        folder: The folder of the split, which is made.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._files = {f.name: (folder / f"{f.name}.npy").open("wb") for f in fields(Features)}
        self._like: dict[str, NDArray[Any]] = {}
        self._rows = dict.fromkeys(self._files, 0)
        self._hits = 0

    def add(self, block: Features) -> None:
        """Write tracks behind those that are there."""
        for name, file in self._files.items():
            values = np.ascontiguousarray(getattr(block, name))
            if name == "offsets":
                values = values[1 if self._rows[name] else 0 :] + self._hits
            if name not in self._like:
                self._like[name] = values[:0]
                _write_header(file, values[:0], 0)
            values.tofile(file)
            self._rows[name] += len(values)
        self._hits += len(block.p)

    def __enter__(self) -> "FeatureWriter":
        return self

    def __exit__(self, *error: object) -> None:
        for name, file in self._files.items():
            with file:
                if name in self._like:
                    file.seek(0)
                    _write_header(file, self._like[name], self._rows[name])


def _write_header(file: IO[bytes], like: NDArray[Any], rows: int) -> None:
    """Header of a ``.npy`` file, whose length is the same for any number of rows."""
    header = npy.header_data_from_array_1_0(like)
    npy.write_array_header_1_0(file, {**header, "shape": (rows, *like.shape[1:])})


def save(folder: Path, splits: Mapping[str, Features], meta: Meta) -> None:
    """Fill an empty folder with the arrays of each split, ``meta.json`` and the checksums."""
    for name, split in splits.items():
        with FeatureWriter(folder / name) as writer:
            writer.add(split)
    finish(folder, meta)


def finish(folder: Path, meta: Meta) -> None:
    """Write ``meta.json`` and the checksums beside the splits."""
    facts = {name: value for name, value in asdict(meta).items() if value is not None}
    write_atomic(folder / "meta.json", json.dumps(facts, indent=1).encode())
    seal(folder)
