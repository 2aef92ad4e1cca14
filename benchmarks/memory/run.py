"""Peak memory of checking, extraction and training on a padded folder, by its number of events.

``python benchmarks/memory/run.py`` writes one merged, uncompressed file as hepattn's filter does,
runs the commands on it, and watches the memory of their processes.
"""

import argparse
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import psutil
import yaml

from headsweep.events.hepattn_files import (
    FILE_INDEX,
    HIT_PREFIX,
    HITS,
    METADATA,
    ROW_INDEX,
    TRACK_PREFIX,
    TRACKS,
    Chunk,
)
from headsweep.events.simulation import simulate_chunks

PADDED = 600
"""Hits of an event as the filter pads them."""
DISTINCT = 2000
"""Simulated events; more are these again, with other times of their hits."""
LIMIT = 1.5e9
"""Bytes above the base that a process may take."""


def write_folder(folder: Path, events: int) -> None:
    """Write a merged file of many events; every one differs from every other."""
    (folder / "data").mkdir(parents=True)
    name = "data/filtered_events.h5"
    hits = list(HITS)
    hits.insert(hits.index("driftR") + 1, "readOutSide")
    metadata = {
        "hit_features": [HIT_PREFIX + column for column in hits],
        "track_features": [TRACK_PREFIX + column for column in TRACKS],
        "event_mapping": {"chunk_summary": [{"h5_file": name, "event_count": events}]},
    }
    (folder / METADATA).write_text(yaml.safe_dump(metadata, sort_keys=False))
    np.save(folder / FILE_INDEX, np.zeros(events, np.int32))
    np.save(folder / ROW_INDEX, np.arange(events, dtype=np.int32))
    parts = list(simulate_chunks(DISTINCT, seed=1))
    places = [hits.index(column) for column in HITS]
    with h5py.File(folder / name, "w") as file:
        shapes = {"hits": (PADDED, len(hits)), "tracks": (2, len(TRACKS))}
        for kind, shape in shapes.items():
            file.create_dataset(kind, (events, *shape), np.float32, chunks=(1, *shape))
            file.create_dataset(f"num_{kind}", (events,), np.int16)
        file.create_dataset("event_numbers", data=np.arange(events))
        for start, chunk in _repeated(parts, events):
            rows = slice(start, min(start + len(chunk.numbers), events))
            used = rows.stop - start
            for kind, values, offsets in (
                ("hits", chunk.hits, chunk.hit_offsets),
                ("tracks", chunk.tracks, chunk.track_offsets),
            ):
                counts = np.diff(offsets)
                padded = np.full((len(counts), *shapes[kind]), np.nan, np.float32)
                valid = np.arange(shapes[kind][0]) < counts[:, None]
                columns = places if kind == "hits" else range(len(TRACKS))
                wide = np.zeros((len(values), shapes[kind][1]), np.float32)
                wide[:, list(columns)] = values
                padded[valid] = wide
                file[kind][rows] = padded[:used]
                file[f"num_{kind}"][rows] = counts[:used]


def _repeated(parts: Sequence[Chunk], events: int) -> Iterator[tuple[int, Chunk]]:
    """The parts again and again, every round with other times, and where each begins."""
    start, round_ = 0, 0
    while start < events:
        for part in parts:
            if start < events:
                part.hits[:, HITS.index("time")] += 0.001 * (round_ > 0)
                yield start, part
                start += len(part.numbers)
        round_ += 1


def watch(command: Sequence[str]) -> tuple[float, float]:
    """Run a command; the most bytes of one of its processes, and of its own memory in them.

    Mapped files count in the first and not in the second: the system takes their memory back when
    others need it.
    """
    most = [0, 0]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        errors: list[bytes] = []
        assert process.stderr is not None
        reader = threading.Thread(target=lambda: errors.append(process.stderr.read()))  # type: ignore[union-attr]
        reader.start()
        own = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                for one in (own, *own.children(recursive=True)):
                    found = one.memory_info()
                    most = [max(most[0], found.rss), max(most[1], found.rss - found.shared)]
            except psutil.Error:
                pass
            threading.Event().wait(0.02)
        reader.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: {errors[0].decode()[-2000:]}")
    return most[0], most[1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table and give the exit code: 1 where the limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, nargs="+", default=[20_000, 60_000, 200_000])
    parser.add_argument("--folder", type=Path, help="where files go; 25 GB for 200,000 events")
    parser.add_argument("--backbone", default="truth")
    parser.add_argument("--steps", type=int, default=400)
    options = parser.parse_args(arguments)
    torch = [sys.executable, "-c", "import torch, numba, headsweep.training.loop"]
    base = watch(torch)
    print(f"base: {base[0] / 1e6:,.0f} MB, {base[1] / 1e6:,.0f} MB without files")
    print("| events | command | MB above the base | without mapped files |\n|---:|---|---:|---:|")
    worst = 0.0
    for events in options.events:
        with TemporaryDirectory(dir=options.folder) as folder:
            data = Path(folder) / "data"
            write_folder(data, events)
            use = ["data=hepattn", f"data.source.path={data}", f"root={folder}/runs"]
            use += [f"backbone={options.backbone}", "tracking=false"]
            headsweep = [str(Path(sys.executable).with_name("headsweep"))]
            for name, words in {
                "data validate": ["data", "validate", *use],
                "train, 1 step (features are made)": ["train", *use, "optim.steps=1"],
                f"train, {options.steps} steps": ["train", *use, f"optim.steps={options.steps}"],
            }.items():
                found = [own - b for own, b in zip(watch([*headsweep, *words]), base, strict=True)]
                worst = max(worst, found[1])
                cells = " | ".join(f"{value / 1e6:,.0f}" for value in found)
                print(f"| {events:,} | {name} | {cells} |", flush=True)
            size = sum(f.stat().st_size for f in (Path(folder) / "runs/cache").rglob("*.npy"))
            print(json.dumps({"events": events, "cache_MB": round(size / 1e6)}), flush=True)
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
