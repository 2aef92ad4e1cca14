"""Folders in the ATLAS-muon HDF5 layout for tests: random chunks, and ways to damage a folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml
from hypothesis import strategies as st
from numpy.typing import NDArray

from headsweep.events.hepattn_files import HITS, METADATA, Chunk

Damage = Callable[[Path], object]
Change = Callable[[NDArray[Any]], NDArray[Any] | None]


@st.composite
def chunks(draw: st.DrawFn) -> list[Chunk]:
    """Up to three files with up to five events: one hit or many, any particle numbers."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    result, first = [], 0
    for n_events in draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)):
        links, n_hits, n_tracks = [], [], []
        for _ in range(n_events):
            particles = draw(st.lists(st.integers(0, 10**6), min_size=1, max_size=3, unique=True))
            more = rng.choice([*particles, -1, -5], draw(st.integers(0, 8)))
            links.append(rng.permutation(np.concatenate([particles, more])))
            n_hits.append(len(links[-1]))
            n_tracks.append(len(particles))
        total, n = sum(n_hits), sum(n_tracks)
        hits = rng.normal(0, 1e4, (total, len(HITS))).astype(np.float32)
        hits[:, HITS.index("truthLink")] = np.concatenate(links)
        tracks = rng.normal(0, 1, (n, 4))
        tracks[:, 0] = rng.uniform(1, 400, n)
        tracks[:, 3] = rng.choice([-1, 1], n)
        result.append(
            Chunk(
                hits,
                np.cumsum([0, *n_hits]),
                tracks.astype(np.float32),
                np.cumsum([0, *n_tracks]),
                np.arange(first, first + n_events),
            )
        )
        first += n_events
    return result


def edit(path: Path, **changes: Change) -> None:
    """Replace datasets of an HDF5 file; a change that returns None removes its dataset."""
    with h5py.File(path, "r") as file:
        arrays = {name: file[name][()] for name in file}
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            changed = changes[name](array) if name in changes else array
            if changed is not None:
                file[name] = changed


def second(**changes: Change) -> Damage:
    """Change datasets of the second file."""
    return lambda folder: edit(folder / "events_001.h5", **changes)


def put(value: float, *where: int) -> Change:
    """Change one number; ``where`` is event, entry and column."""

    def change(array: NDArray[Any]) -> NDArray[Any]:
        array[where] = value
        return array

    return change


def metadata(change: Callable[[dict[str, Any]], object]) -> Damage:
    """Change the parsed metadata in place."""

    def damage(folder: Path) -> None:
        content = yaml.safe_load((folder / METADATA).read_text())
        change(content)
        (folder / METADATA).write_text(yaml.safe_dump(content))

    return damage


def index(name: str, change: Change) -> Damage:
    """Change one of the index arrays."""
    return lambda folder: np.save(folder / name, np.asarray(change(np.load(folder / name))))


def truncate(name: str, share: float) -> Damage:
    """Keep the first share of a file."""

    def damage(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(share * len(content))])

    return damage


def flip_a_byte(folder: Path) -> None:
    """Change one bit in the middle of the second file."""
    content = bytearray((folder / "events_001.h5").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "events_001.h5").write_bytes(content)
