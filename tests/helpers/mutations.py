"""Seeded damage to files: bytes, whole files, values in HDF5, Parquet, YAML, JSON and SQLite."""

import json
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import yaml

Mutation = Callable[[Path, random.Random], str]
"""Changes a file, or what stands in its place; says what it did."""

ODD: list[Any] = [
    *(None, True, -1, 0, 1, 2**63, -(2**31), 0.5, 1e30, -1e-30, float("nan"), float("inf")),
    *(
        "",
        "x",
        "${nope}",
        "???",
        "é" * 300,
        "../..",
        "[",
        [],
        [1, "a"],
        {},
        {"_target_": "os.abort"},
    ),
    *([[[]]], {"a": {"b": None}}, "1e9", "null", 10**30, " ", "\x00", "a=b", "{", "%20?#"),
]
"""Values that no key expects; each is right somewhere and wrong elsewhere."""


def files_below(folder: Path) -> list[Path]:
    """Files in a fixed order."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def flip(path: Path, rng: random.Random) -> str:
    """Other bits in up to eight bytes."""
    data = bytearray(path.read_bytes())
    places = [rng.randrange(len(data)) for _ in range(rng.choice([1, 1, 2, 8]))] if data else []
    for place in places:
        data[place] ^= rng.randrange(1, 256)
    path.write_bytes(data)
    return f"bytes {places} of {path.name}"


def cut(path: Path, rng: random.Random) -> str:
    """Only the beginning."""
    data = path.read_bytes()
    length = rng.randrange(len(data)) if data else 0
    path.write_bytes(data[:length])
    return f"{path.name} cut at {length} of {len(data)}"


def splice(path: Path, rng: random.Random) -> str:
    """A part twice, at another place, or as zeros."""
    data = path.read_bytes()
    if not data:
        return f"{path.name} is empty"
    first, size, to = rng.randrange(len(data)), rng.randrange(1, 600), rng.randrange(len(data))
    part = data[first : first + size] if rng.random() < 0.7 else bytes(size)
    path.write_bytes(data[:to] + part + data[to + (size if rng.random() < 0.7 else 0) :])
    return f"{size} bytes of {path.name} from {first} to {to}"


def empty(path: Path, rng: random.Random) -> str:
    """Nothing in it."""
    path.write_bytes(b"")
    return f"{path.name} empty"


def garbage(path: Path, rng: random.Random) -> str:
    """Random bytes."""
    path.write_bytes(rng.randbytes(rng.randrange(1, 3000)))
    return f"{path.name} is noise"


def remove(path: Path, rng: random.Random) -> str:
    """No file."""
    path.unlink()
    return f"no {path.name}"


def into_folder(path: Path, rng: random.Random) -> str:
    """A folder in place of the file."""
    path.unlink()
    path.mkdir()
    return f"{path.name} is a folder"


def into_circle(path: Path, rng: random.Random) -> str:
    """A symbolic link to itself."""
    path.unlink()
    path.symlink_to(path.name)
    return f"{path.name} is a circle of links"


def swap(path: Path, rng: random.Random) -> str:
    """Another file's content."""
    other = rng.choice(files_below(path.parent.parent))
    shutil.copy(other, path) if other != path else None
    return f"{path.name} is {other.name} of {other.parent.name}"


def values(path: Path, rng: random.Random) -> str:
    """An odd value, a key less, or a key with another name, in JSON or YAML."""
    text = path.read_text()
    content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    said = _change(content, rng) if isinstance(content, dict | list) and content else "nothing"
    dumped = json.dumps(content) if path.suffix == ".json" else yaml.safe_dump(content)
    head = text.partition("\n")[0]
    path.write_text(f"{head}\n{dumped}" if head.startswith("# @") else dumped)
    return f"{path.name}: {said}"


def _change(node: Any, rng: random.Random) -> str:
    key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
    if isinstance(node[key], dict | list) and node[key] and rng.random() < 0.8:
        return f"{key}.{_change(node[key], rng)}"
    act = rng.choice(["value", "value", "value", "drop", "rename"])
    if act == "value" or isinstance(node, list):
        node[key] = rng.choice(ODD)
        return f"{key}={node[key]!r}"
    value = node.pop(key)
    if act == "rename":
        node[f"{key}x"] = value
    return f"{act} {key}"


def numbers(path: Path, rng: random.Random) -> str:
    """Other values, types or lengths in one array of an HDF5 file."""
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visititems(
            lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
        )
        name = rng.choice(names)
        array = file[name][()]
        del file[name]
        array, said = _spoil(np.array(array), rng)
        if array is not None:
            file[name] = array
    return f"{path.name}/{name}: {said}"


def columns(path: Path, rng: random.Random) -> str:
    """Other values, types or lengths in one column of a Parquet file."""
    table = pd.read_parquet(path)
    name = rng.choice(list(table))
    if rng.random() < 0.1:
        rows = table.sample(frac=rng.random(), random_state=rng.randrange(2**31))
        rows.to_parquet(path, index=False)
        return f"{path.name}: {len(rows)} of {len(table)} rows, in another order"
    array, said = _spoil(table[name].to_numpy().copy(), rng)
    if array is None or len(array) != len(table):
        del table[name]
        said = "dropped"
    else:
        table[name] = array
    table.to_parquet(path, index=False)
    return f"{path.name}/{name}: {said}"


def _spoil(array: np.ndarray, rng: random.Random) -> tuple[np.ndarray | None, str]:
    """An array with a column of its own, one place or all of it made odd; None: taken away."""
    act = rng.choice(
        ["place", "place", "all", "scale", "type", "shorter", "order", "drop", "shift"]
    )
    flat = array.reshape(-1)
    if not len(flat) or not np.issubdtype(array.dtype, np.number):
        return None, "dropped"
    if act == "place":
        place, value = rng.randrange(len(flat)), rng.choice([np.nan, np.inf, 1e30, -1e30, -1, 0, 7])
        with np.errstate(invalid="ignore", over="ignore"):
            flat[place] = np.asarray(value).astype(array.dtype)
        return array, f"{value} at {place}"
    if act == "all":
        value = rng.choice([0, 1, -1])
        return np.full_like(array, value), f"all {value}"
    if act == "scale":
        factor = rng.choice([1000.0, 0.001, 57.29578, -1.0, 100.0, 1e12])
        column = rng.randrange(array.shape[1]) if array.ndim > 1 else ...
        with np.errstate(invalid="ignore", over="ignore"):
            scaled = array.astype(np.float64)
            scaled[:, column] *= factor if array.ndim > 1 else 1.0
            scaled = scaled * factor if array.ndim == 1 else scaled
            return scaled.astype(array.dtype), f"column {column} times {factor}"
    if act == "shift":
        return np.roll(array, rng.randrange(1, 50), axis=0), "shifted"
    if act == "type":
        kind = rng.choice(["float16", "float32", "int8", "uint64", "complex64", "S4", "bool"])
        with np.errstate(invalid="ignore", over="ignore"):
            return array.astype(kind) if kind != "complex64" else None, f"as {kind}"
    if act == "shorter":
        return array[: rng.randrange(len(array))], "shorter"
    if act == "order":
        return array[::-1].copy(), "backwards"
    return None, "dropped"


TABLES = ("metrics", "latest_metrics", "params", "tags", "runs", "experiments", "alembic_version")


def database(path: Path, rng: random.Random) -> str:
    """A table dropped or emptied, rows lost, an experiment deleted, another schema."""
    table = rng.choice(TABLES)
    orders = {
        "dropped": f"DROP TABLE {table}",
        "emptied": f"DELETE FROM {table}",
        "lost rows": f"DELETE FROM {table} WHERE rowid % 3 = 0",
        "tag": "DELETE FROM tags WHERE key LIKE 'headsweep.%' AND rowid % 2 = 0",
        "deleted": "UPDATE experiments SET lifecycle_stage = 'deleted'",
        "gone": "DELETE FROM experiments WHERE name LIKE 'headsweep%'",
        "schema": f"UPDATE alembic_version SET version_num = '{rng.randrange(10**11)}'",
        "column": "ALTER TABLE runs DROP COLUMN status",
        "status": "UPDATE runs SET status = 'RUNNING', lifecycle_stage = 'deleted'",
        "name": "UPDATE experiments SET name = 'other' WHERE name LIKE 'headsweep%'",
        "places": "UPDATE experiments SET artifact_location = '/proc/nowhere'",
    }
    what = rng.choice(sorted(orders))
    with closing(sqlite3.connect(path)) as connection:
        try:
            connection.execute("PRAGMA foreign_keys = OFF")
            connection.execute(orders[what])
            connection.commit()
        except sqlite3.Error as error:
            return f"nothing ({error})"
    return f"{what} {table}"


BYTES = (flip, flip, cut, splice, empty, garbage)
WHOLE = (remove, into_folder, into_circle, swap)
INSIDE: dict[str, Mutation] = {
    ".h5": numbers,
    ".parquet": columns,
    ".json": values,
    ".yaml": values,
    ".db": database,
}


def damage(path: Path, rng: random.Random) -> str:
    """One mutation of a file, inside of it as often as from outside."""
    inside = INSIDE.get(path.suffix)
    if inside is not None and rng.random() < 0.5:
        return inside(path, rng)
    return rng.choice([*BYTES, *WHOLE])(path, rng)
