"""Folders of frozen features with straight tracks, written without the package's writer."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from headsweep.events.base import derive, file_hash
from headsweep.events.frozen_folder import event_number
from headsweep.files import write_sealed


def checksums(folder: Path, part: int) -> dict[str, str]:
    """What ``metadata.json`` has of a part."""
    kinds = ("safetensors", "parquet")
    return {kind: file_hash(folder / f"part-{part}.{kind}") for kind in kinds}


FEATURES = ["r", "s", "theta", "phi", "eta"]


def write_folder(
    folder: Path,
    events: int,
    dim: int = 4,
    lowest_p: float = 0.05,
    seed: int = 0,
    found: float = 0.9,
    first_trained: int = 0,
    dropped: int = 0,
    own_numbers: bool = False,
    trained: float = 0.5,
) -> dict[str, Any]:
    """The share ``trained`` of events is of train, the last sixth of test, the rest of val.

    ``found`` is the share of tracks that the model found. With ``first_trained`` the events that
    trained begin there and go round, so that of one seed another recording says something else;
    ``dropped`` hits are missing in each track. With ``own_numbers`` those of each split begin at 0.

    Returns:
        ``event`` [T], and ``raw``, ``p`` and ``correct`` of each track, a list of T arrays.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    hits: dict[str, list[Any]] = {name: [] for name in ("raw", "encoded", "p", "correct")}
    for event in range(events):
        place = (event - first_trained) % events
        firsts = {"train": 0, "val": int(events * trained), "test": events * 5 // 6}
        split = [name for name, first in firsts.items() if first <= place][-1]
        for _ in range(1 + event % 2):
            eta, phi = rng.uniform(-2, 2), rng.uniform(-3, 3)
            n = int(rng.integers(6, 12))
            r = np.linspace(2, 10, n)
            x, y, z = (
                v.astype(np.float32) for v in (r * np.cos(phi), r * np.sin(phi), r * np.sinh(eta))
            )
            hits["raw"].append(np.stack([derive(name, x, y, z) for name in FEATURES], axis=1))
            hits["encoded"].append(rng.normal(size=(n, dim)).astype(np.float32))
            hits["p"].append(rng.uniform(lowest_p, 1, n).astype(np.float32))
            hits["correct"].append(rng.random(n) < 0.9)
            if dropped:
                for values in hits.values():
                    values[-1] = values[-1][dropped:]
            pt = float(np.exp(rng.uniform(1, 5)))
            track = {"eta": eta, "phi": phi, "pt": pt, "q": float(rng.choice([-1, 1]))}
            number = event_number(split, place - firsts[split]) if own_numbers else event
            rows.append({"event": number, "split": split, "found": rng.random() < found, **track})
    query = rng.normal(size=(len(rows), dim)).astype(np.float32)
    parts = {}
    # Both parts have whole events.
    last = rows[-1]["event"] if own_numbers else events // 2 + 1
    cut = next(i for i, row in enumerate(rows) if row["event"] == last)
    for number, part in enumerate((slice(0, cut), slice(cut, len(rows)))):
        arrays = {name: np.concatenate(values[part]) for name, values in hits.items()}
        arrays["query"] = query[part]
        arrays["offsets"] = np.cumsum([0, *map(len, hits["p"][part])])
        save_file(arrays, folder / f"part-{number}.safetensors")
        pq.write_table(pa.Table.from_pylist(rows[part]), folder / f"part-{number}.parquet")
        parts[f"part-{number}"] = checksums(folder, number)
    about = {"format": 1, "features": FEATURES, "dim": dim, "lowest_p": lowest_p}
    counts = {
        split: {
            "events": len({row["event"] for row in rows if row["split"] == split}),
            "tracks": sum(row["split"] == split for row in rows),
            "unmatched": sum(row["split"] == split and not row["found"] for row in rows),
        }
        for split in ("train", "val", "test")
    }
    complete = dict.fromkeys(counts, True)
    about |= {
        "model": {"checkpoint": "toy"},
        "complete": complete,
        "counts": counts,
        "parts": parts,
    }
    write_sealed(folder / "metadata.json", about)
    return {
        "event": np.array([row["event"] for row in rows]),
        "found": np.array([row["found"] for row in rows]),
        "query": query,
        **hits,
    }
