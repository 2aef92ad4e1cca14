"""Conversion of Acts CSV files to Parquet tracks (``events/parquet_tracks.py``).

The columns and units are those of the CSV writers of the Acts examples framework
(``Examples/Io/Csv``): positions in mm, momenta in GeV.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from headsweep.errors import DataError, UserError
from headsweep.events.parquet_tracks import HITS_FILE, NOISE_PARTICLE, PARTICLES_FILE
from headsweep.files import atomic_dir

PARTICLE_FILES = ("particles_simulated", "particles_initial", "particles")
"""Names of the file with the true momenta at birth; the first that is there counts."""

SPLIT_ID = tuple(f"particle_id_{part}" for part in ("pv", "sv", "part", "gen", "subpart"))
"""Newer versions write the particle number in five columns instead of ``particle_id``."""

IDENTIFIERS = ("particle_id", "geometry_id")
"""Packed 64-bit numbers; as float they would lose their low bits."""

MM_PER_NS = 299.792458


def convert(source: Path, target: Path) -> None:
    """Convert a folder of Acts CSV files to a folder of Parquet tracks, all or nothing.

    Takes ``event000000000-hits.csv`` and its particle file (``-particles_simulated``,
    ``-particles_initial`` or ``-particles``) for every event, or one pair ``hits.csv`` and
    ``particles.csv``, with an ``event_id`` column or for a single event.

    Particles are renumbered from 0 in each event. Kept are those with charge +-1 and at least
    one hit; the hits of all others become noise (-1), and an event without a kept particle is
    left out. Hit columns written: x, y, z (mm), t (ns) and volume_id, layer_id, module_id out of
    ``geometry_id``. Particle columns: pt (GeV), eta and phi of the momentum at birth, and q.

    Args:
        source: The folder with the CSV files.
        target: The folder to make; must not exist.

    Raises:
        UserError: ``target`` exists.
        DataError: A file is missing, unreadable or lacks a column, or nothing is left.
    """
    if target.exists():
        raise UserError(f"{target}: exists already; remove it or choose another folder")
    pairs = _pairs(source)
    hits = pd.concat([_read(file, event) for event, file, _ in pairs], ignore_index=True)
    particles = pd.concat([_read(file, event) for event, _, file in pairs], ignore_index=True)
    hits, particles = _number(source, hits, particles)
    with atomic_dir(target) as folder:
        _hit_columns(source, hits).to_parquet(folder / HITS_FILE, index=False)
        _particle_columns(source, particles).to_parquet(folder / PARTICLES_FILE, index=False)


def _pairs(source: Path) -> list[tuple[int, Path, Path]]:
    """List event number, hit file and particle file; the number is 0 for a plain pair."""
    files = {path.name: path for path in source.glob("*.csv")}
    prefixes = sorted(m[0] for name in files if (m := re.match(r"event\d+-(?=hits\.csv$)", name)))
    if not prefixes and "hits.csv" not in files:
        raise DataError(
            f"{source}: no event<number>-hits.csv and no hits.csv; "
            f"found {', '.join(sorted(files)) or 'no CSV file'}"
        )
    pairs = []
    for prefix in prefixes or [""]:
        names = [f"{prefix}{stem}.csv" for stem in PARTICLE_FILES]
        there = [name for name in names if name in files]
        if not there:
            raise DataError(f"{source}: none of {', '.join(names)} beside {prefix}hits.csv")
        event = int(prefix[len("event") : -1]) if prefix else 0
        pairs.append((event, files[f"{prefix}hits.csv"], files[there[0]]))
    return pairs


def _read(file: Path, event: int) -> pd.DataFrame:
    """Read one CSV file; the event number is in column ``event``."""
    try:
        table = pd.read_csv(file, dtype=dict.fromkeys(IDENTIFIERS, "uint64"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: not a readable CSV file ({error})") from error
    if "event_id" in table:
        return table.rename(columns={"event_id": "event"})
    return table.assign(event=event)


def _require(source: Path, kind: str, table: pd.DataFrame, columns: tuple[str, ...]) -> None:
    for name in columns:
        if name not in table:
            raise DataError(
                f"{source}: {kind}: no column {name!r}; found {', '.join(map(str, table))}"
            )
        wrong = pd.to_numeric(table[name], errors="coerce").isna()
        if wrong.any():
            raise DataError(
                f"{source}: {kind}: event {table['event'][wrong].iloc[0]}, column {name!r}: "
                f"{table[name][wrong].iloc[0]} is not a number"
            )


def _number(
    source: Path, hits: pd.DataFrame, particles: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Add a column ``particle`` to both tables: 0, 1, .. in each event for kept particles."""
    number = ("particle_id",) if "particle_id" in hits else SPLIT_ID
    _require(source, "hits", hits, ("event", *number))
    _require(source, "particles", particles, ("event", *number, "q"))
    pair = ["event", *number]
    repeated = particles[particles.duplicated(pair)]
    if len(repeated):
        first = ", ".join(f"{name} {repeated[name].iloc[0]}" for name in pair)
        raise DataError(f"{source}: particles: {first} has more than one row")
    particles = particles[particles["q"].abs() == 1].merge(hits[pair].drop_duplicates(), on=pair)
    if particles.empty:
        raise DataError(f"{source}: no particle of charge +-1 has a hit")
    particles = particles.sort_values(pair)
    particles["particle"] = particles.groupby("event").cumcount()
    hits = hits.merge(particles[[*pair, "particle"]], on=pair, how="left")
    hits["particle"] = hits["particle"].fillna(NOISE_PARTICLE)
    return hits[hits["event"].isin(particles["event"])], particles


def _hit_columns(source: Path, hits: pd.DataFrame) -> pd.DataFrame:
    _require(source, "hits", hits, ("tx", "ty", "tz", "tt", "geometry_id"))
    time = hits["tt"]
    # Older versions write the time in ns, newer ones times the speed of light in mm. Nothing is
    # faster than light, so the time over the distance tells them apart: 1/300 or 1 and more.
    distance = np.linalg.norm(hits[["tx", "ty", "tz"]], axis=1)
    if time.median() > 0.1 * np.median(distance):
        time = time / MM_PER_NS
    # Bits of an Acts geometry identifier: volume 8, boundary 8, layer 12, approach 8,
    # sensitive 20, extra 8.
    geometry = hits["geometry_id"].to_numpy().astype(np.uint64)
    return pd.DataFrame(
        {
            "event": hits["event"].astype("int64"),
            "particle": hits["particle"].astype("int32"),
            "x": hits["tx"].astype("float32"),
            "y": hits["ty"].astype("float32"),
            "z": hits["tz"].astype("float32"),
            "t": time.astype("float32"),
            "volume_id": (geometry >> np.uint64(56)).astype("int16"),
            "layer_id": (geometry >> np.uint64(36) & np.uint64(0xFFF)).astype("int16"),
            "module_id": (geometry >> np.uint64(8) & np.uint64(0xFFFFF)).astype("int32"),
        }
    )


def _particle_columns(source: Path, particles: pd.DataFrame) -> pd.DataFrame:
    _require(source, "particles", particles, ("px", "py", "pz"))
    px, py, pz = (particles[name] for name in ("px", "py", "pz"))
    pt = np.hypot(px, py)
    return pd.DataFrame(
        {
            "event": particles["event"].astype("int64"),
            "particle": particles["particle"].astype("int32"),
            "pt": pt.astype("float32"),
            "eta": np.arcsinh(pz / pt).astype("float32"),
            "phi": np.arctan2(py, px).astype("float32"),
            "q": particles["q"].astype("int8"),
        }
    )
