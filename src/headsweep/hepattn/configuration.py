"""The regression task in a configuration of hepattn."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from headsweep.errors import UserError, reading

POOLED = ("WeightedPoolingObjectHitRegressionTask", "FrozenEncoderRegressionTask")
"""Tasks that pool hits; the second is the first with weights loaded and frozen."""

OTHERS = ("ObjectRegressionTask", "ObjectHitRegressionTask", "RegressionTask")
"""Tasks that regress without pooling hits."""

MEND = "give the YAML of a hepattn model, or the list of its tasks"


@dataclass(frozen=True)
class Task:
    """A regression task with pooled hits.

    Attributes:
        kind: Name of its class.
        place: Keys that lead to it, joined by dots.
        arguments: Its ``init_args``.
        folders: ``train_dir``, ``val_dir`` and ``test_dir`` of the data, where they are given.
    """

    kind: str
    place: str
    arguments: Mapping[str, Any]
    folders: Mapping[str, str]


def read_task(path: Path) -> Task:
    """Find the task in a full configuration, one that Lightning saved, or a list of tasks.

    The file is read as plain YAML: OmegaConf refuses the duplicate keys that hepattn's files have.

    Raises:
        UserError: The file is no YAML, or has no such task, or several.
    """
    with reading(path, MEND):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    tasks = list(_tasks(content, "", set()))
    found = [task for task in tasks if task[0] in POOLED]
    if not found:
        plain = [f"{kind} (at {place})" for kind, place, _ in tasks]
        if plain:
            raise UserError(
                f"{path}: no pooling in this task: {', '.join(plain)}; headsweep takes over tasks "
                f"that pool hits: {', '.join(POOLED)}"
            )
        raise UserError(f"{path}: there is no regression task in it; {MEND}")
    if len(found) > 1:
        places = ", ".join(place for _, place, _ in found)
        raise UserError(f"{path}: {len(found)} tasks pool hits: {places}; keep one of them")
    [(kind, place, arguments)] = found
    data = content.get("data") if isinstance(content, dict) else None
    folders = data if isinstance(data, dict) else {}
    known = ("train_dir", "val_dir", "test_dir")
    return Task(kind, place, arguments, {key: str(folders[key]) for key in known if key in folders})


def _tasks(node: Any, place: str, seen: set[int]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Every regression task below a node: class, place and arguments.

    What YAML's aliases repeat, perhaps without end, is looked at once: the nodes ``seen``.
    """
    if isinstance(node, dict):
        kind = str(node.get("class_path", "")).rpartition(".")[2]
        if kind in (*POOLED, *OTHERS):
            yield kind, place, node.get("init_args") or {}
            return
        children: Any = node.items()
    elif isinstance(node, list):
        children = enumerate(node)
    else:
        return
    if id(node) in seen:
        return
    seen.add(id(node))
    for key, child in children:
        yield from _tasks(child, f"{place}.{key}".lstrip("."), seen)


def number(value: Any, key: str) -> float:
    """A number; ``1e-5`` without a dot is text in YAML.

    Raises:
        UserError: It is none.
    """
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise UserError(f"{key}: {value!r} is no number") from error
