"""Peak memory and processor time of the commands on many events, by their number.

``python benchmarks/memory/run.py`` writes one merged, uncompressed file as hepattn's filter does,
runs the commands on it, and watches the memory of their processes. ``--source simulation`` lets the
commands simulate as many events.
"""

import argparse
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
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
SEEDS = 5
"""Members that train together."""
OPEN_TEST = """
from pathlib import Path
from sys import argv
from headsweep.report.scoring import open_test
open_test(Path(argv[1]), Path(argv[2]))
"""
"""Makes the test sample of a run, whose formula is calibrated on all of its training events."""
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


def watch(command: Sequence[str]) -> tuple[float, float, float]:
    """Run a command.

    Returns:
        The most bytes of one of its processes, those of its own memory in them, and the processor
        time of all in s. Mapped files count in the first and not in the second: the system takes
        their memory back when others need it.
    """
    most, before = [0, 0], getrusage(RUSAGE_CHILDREN)
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
    after = getrusage(RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return most[0], most[1], used


def commands(use: Sequence[str], root: Path, steps: int) -> Iterator[tuple[str, Sequence[str]]]:
    """What is measured, by its name; each command has what those before it have made.

    Args:
        use: Overrides that choose data and backbone.
        root: The folder of all output.
        steps: Of a training.
    """
    headsweep = str(Path(sys.executable).with_name("headsweep"))
    own = [*use, f"root={root}", "tracking=false"]
    yield "train, 1 step (features are made)", [headsweep, "train", *own, "optim.steps=1"]
    yield "data validate", [headsweep, "data", "validate", *own]
    known = {*(root / "runs").iterdir()}
    train = [headsweep, "train", *own, f"optim.steps={steps}", f"seeds={SEEDS}"]
    yield f"train, {steps} steps, {SEEDS} seeds", train
    (run,) = {*(root / "runs").iterdir()} - known
    yield "report on dev", [headsweep, "report", run.name, f"--root={root}"]
    if "data=hepattn" not in use:
        yield "test sample is made", [sys.executable, "-c", OPEN_TEST, str(run), str(root)]
    backbone = [headsweep, "backbone", str(root / "own.safetensors"), *own, f"--steps={steps}"]
    yield f"backbone, {steps} steps", backbone


def measure(events: int, options: argparse.Namespace, base: Sequence[float]) -> float:
    """Run all commands on so many events, and print their rows; the most bytes above the base."""
    worst = 0.0
    with TemporaryDirectory(dir=options.folder) as folder:
        root, use = Path(folder) / "runs", [f"data.source.events={events}"]
        if options.source == "folder":
            data = Path(folder) / "data"
            write_folder(data, events)
            use = ["data=hepattn", f"data.source.path={data}"]
        for name, words in commands([*use, f"backbone={options.backbone}"], root, options.steps):
            *found, seconds = watch(words)
            above = [own - b for own, b in zip(found, base, strict=False)]
            worst = max(worst, above[1])
            cells = " | ".join(f"{value / 1e6:,.0f}" for value in above)
            each = f"{1000 * seconds / events:.2f}"
            print(f"| {events:,} | {name} | {cells} | {each} |", flush=True)
        size = sum(f.stat().st_size for f in (root / "cache/features").rglob("*.npy"))
        facts: Mapping[str, int] = {"events": events, "features_MB": round(size / 1e6)}
        print(json.dumps(facts), flush=True)
    return worst


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table and give the exit code: 1 where the limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, nargs="+", default=[20_000, 60_000, 200_000])
    parser.add_argument("--source", choices=("folder", "simulation"), default="folder")
    parser.add_argument("--folder", type=Path, help="where files go; 25 GB for 200,000 events")
    parser.add_argument("--backbone", default="truth")
    parser.add_argument("--steps", type=int, default=400)
    options = parser.parse_args(arguments)
    base = watch([sys.executable, "-c", "import torch, numba, headsweep.training.loop"])
    print(f"base: {base[0] / 1e6:,.0f} MB, {base[1] / 1e6:,.0f} MB without files")
    print("| events | command | MB above the base | without mapped files | s for 1,000 events |")
    print("|---:|---|---:|---:|---:|")
    return int(max(measure(events, options, base) for events in options.events) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
