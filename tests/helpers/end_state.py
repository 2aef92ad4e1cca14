"""What a sweep and its copy in MLflow hold in the end, without times, places and identifiers."""

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

Runs = dict[str, dict[str, Any]]
"""All that MLflow shows of each run, by the folder that it stands for."""

PLACES = (b"root:", b"# sha256")
"""Beginnings of the lines of ``config.yaml`` that differ between two places."""

OWN = {"headsweep.content", "headsweep.path", "mlflow.parentRunId", "code_version"}
"""Tags that differ between two databases, or are compared otherwise."""


def trials(sweep: Path) -> list[tuple[Any, ...]]:
    """What the study of a search holds of each trial; nothing for a grid."""
    journal = sweep / "journal.log"
    if not journal.exists():
        return []
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(journal)))
    study = optuna.load_study(study_name=sweep.name, storage=storage)
    return [
        (t.number, t.state.name, t.params, t.values, t.intermediate_values, t.user_attrs)
        for t in study.trials
    ]


def hashes(sweep: Path) -> dict[str, str]:
    """Hash of every file of every job and of the specification."""
    found = {}
    for path in sorted([*sweep.glob("jobs/**/*"), *sweep.glob("spec.yaml")]):
        if path.is_file():
            digest = hashlib.sha256(_content(path))
            found[str(path.relative_to(sweep))] = digest.hexdigest()
    return found


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    if path.name in ("result.json", "job.json"):
        timeless = {"seconds": 0, "ended": 0, "sha256": "", "code_version": ""}
        return json.dumps(json.loads(content) | timeless).encode()
    if path.suffix == ".yaml":
        return b"\n".join(x for x in content.splitlines() if not x.startswith(PLACES))
    return content


def finished(sweep: Path) -> dict[str, int]:
    """When each member ended, in ns, by its folder: a member trained again has another time."""
    return {
        str(path.parent.relative_to(sweep)): path.stat().st_mtime_ns
        for path in sweep.glob("jobs/*/seed_*/result.json")
    }


def tracked(database: Path, artifacts: Path) -> list[dict[str, Any]]:
    """All that is shown of each run in a database of MLflow that is not deleted.

    Args:
        database: The file.
        artifacts: Folder somewhere below which the files of the runs lie.
    """
    with closing(sqlite3.connect(database)) as connection:
        paths = dict(_query(connection, "tags", "key = 'headsweep.path'", "value"))
        found = []
        for run, name, status in connection.execute(
            "SELECT run_uuid, name, status FROM runs WHERE lifecycle_stage = 'active'"
        ):
            own = f"run_uuid = '{run}'"
            tags = dict(row[1:] for row in _query(connection, "tags", own, "key", "value"))
            files = artifacts.rglob(f"{run}/artifacts/*")
            found.append(
                {
                    "path": _below(paths.get(run, "")),
                    "name": name,
                    "status": status,
                    "parent": _below(paths.get(tags.get("mlflow.parentRunId", ""), "")),
                    "tags": {k: v for k, v in tags.items() if k not in OWN},
                    "params": sorted(_query(connection, "params", own, "key", "value")),
                    "metrics": _metrics(connection, own),
                    "files": {p.name: hashlib.sha256(_content(p)).hexdigest() for p in files},
                }
            )
    for one in found:
        one["params"] = [row[1:] for row in one["params"]]
    return sorted(found, key=lambda one: (one["path"], one["status"]))


def _metrics(connection: sqlite3.Connection, own: str) -> list[tuple[Any, ...]]:
    """Key, step and value, the last one told of each step.

    A sweep tells the best so far after each delivery, whose number depends on what was disturbed.
    """
    rows = _query(connection, "metrics", own, "timestamp", "key", "step", "value")
    last = {(key, step): value for _, _, key, step, value in sorted(rows)}
    return sorted((key, step, value) for (key, step), value in last.items())


def _query(
    connection: sqlite3.Connection, table: str, where: str, *columns: str
) -> list[tuple[Any, ...]]:
    names = ", ".join(("run_uuid", *columns))
    return connection.execute(f"SELECT {names} FROM {table} WHERE {where}").fetchall()


def _below(path: str) -> str:
    """A run's folder, without the identifier of the root that a server has before it."""
    return path[path.index("sweeps/") :] if "sweeps/" in path else path


def differences(reference: Path, other: Path) -> list[str]:
    """What differs between two folders of one sweep; nothing is the aim."""
    found = []
    ours, theirs = trials(reference), trials(other)
    if ours != theirs:
        found.append(f"trials differ: {ours} / {theirs}")
    left = hashes(reference), hashes(other)
    found += [
        f"{k} differs" for k in sorted({*left[0], *left[1]}) if left[0].get(k) != left[1].get(k)
    ]
    for name in ("leases", "attempts"):
        found += [f"{name}/{path.name} is left" for path in (other / name).glob("[!.]*")]
    return found


def tracked_differences(reference: list[dict[str, Any]], other: list[dict[str, Any]]) -> list[str]:
    """What differs between what two databases of MLflow show."""
    counts = [[one["path"] for one in side] for side in (reference, other)]
    if counts[0] != counts[1]:
        return [f"runs in MLflow differ: {counts[0]} / {counts[1]}"]
    return [
        f"MLflow: {ours['path']}: {key} differ: {ours[key]} / {theirs[key]}"
        for ours, theirs in zip(reference, other, strict=True)
        for key in ours
        if ours[key] != theirs[key]
    ]
