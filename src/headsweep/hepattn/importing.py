"""From hepattn's regression task to the overrides that train the same head here."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headsweep.config import FeaturesConfig, MLPHeadConfig
from headsweep.errors import UserError
from headsweep.events.hepattn import FEATURES
from headsweep.events.hepattn_files import HIT_PREFIX
from headsweep.files import check_output, write_atomic
from headsweep.hepattn.checkpoint import HeadState, read_head
from headsweep.hepattn.configuration import Task, number, read_task

LAYERS, DROPOUT, THRESHOLD, PT_NORM = 3, 0.1, 0.1, 200.0
"""Defaults of the task's arguments, and the unit of ``truthMuon_pt_norm`` in GeV."""

USED = {
    *("dim", "hit_fields", "fields", "inverse_fields", "assignment_threshold"),
    *("regression_hidden_dim", "regression_num_layers", "dropout"),
}
WIRING = {"name", "input_hit", "input_object", "output_object", "target_object"}
"""Arguments that only say where the task stands in the model."""

INERT = {
    "loss_weight": "scales the loss, which alone trains the head",
    "checkpoint_path": "the frozen features come from a folder",
    "freeze_all": "everything but the head is frozen",
    "cost_weight": "queries are matched once, by their masks",
}
"""Arguments without an equivalent that change nothing here, and why."""

FOLDERS = {"train_dir": "path", "val_dir": "val", "test_dir": "test"}
"""Folders of hepattn's data: the keys of ``data.source``."""

TARGETS = {
    ("pt", "q"): ("plain", 1.0),
    ("pt_norm", "q"): ("plain", PT_NORM),
    ("qpt",): ("q_over_pt", 1.0),
}
"""Fields behind eta and phi, without ``truthMuon_``: the target, and the unit of pT in GeV."""


@dataclass(frozen=True)
class ImportedHead:
    """A head of hepattn in words of headsweep.

    Attributes:
        task: The task that it was read from.
        dim: Width D of the model.
        hit_fields: Names of the F raw hit features, in their order.
        head: ``mlp`` or ``dense``.
        values: Key and value of each override.
        pt_unit: Unit of pT in hepattn's targets, GeV.
        notes: What has no equivalent, or another one than a reader might expect.
    """

    task: Task
    dim: int
    hit_fields: tuple[str, ...]
    head: str
    values: dict[str, Any]
    pt_unit: float
    notes: tuple[str, ...]

    def overrides(self) -> list[str]:
        """The overrides of ``headsweep train``."""
        return [f"head={'dense' if self.head == 'dense' else 'conservative'}"] + [
            f"{key}={_text(value)}" for key, value in self.values.items()
        ]

    def data_overrides(self) -> list[str]:
        """Overrides that read the data folders of the configuration, if it has all three."""
        given = [self.task.folders.get(key) for key in FOLDERS]
        if None in given:
            return []
        found = ["data=hepattn"]
        for key, folder in zip(FOLDERS.values(), given, strict=True):
            found.append(f"data.source.{key}={_quoted(str(folder))}")
        if tuple(name.removeprefix(HIT_PREFIX) for name in self.hit_fields) != FEATURES:
            found.append(f"data.source.features=[{','.join(self.hit_fields)}]")
        return found

    def yaml(self, source: str) -> str:
        """A file of the group ``head`` with all of them."""
        groups: dict[str, dict[str, Any]] = {}
        for key, value in self.values.items():
            group, _, name = key.partition(".")
            groups.setdefault(group, {})[name] = value
        target = groups["target"].pop("name")
        lines = [
            "# @package _global_",
            f"# {self.task.kind} of {source}, as `headsweep import` reads it.",
            "defaults:",
            f"  - /head/schema_{self.head}@head",
            "  - override /features: document",
            f"  - override /target: {target}",
            "  - _self_",
        ]
        del groups["features"]["name"]
        for group, keys in groups.items():
            if keys:
                inner = ", ".join(f"{name}: {_text(value)}" for name, value in keys.items())
                lines.append(f"{group}: {{{inner}}}")
        return "\n".join(lines) + "\n"


def import_head(config: Path, checkpoint: Path | None = None) -> ImportedHead:
    """Read a head from a configuration of hepattn and, where given, a checkpoint.

    Args:
        config: Its YAML, or that of a list of tasks.
        checkpoint: A ``.ckpt`` of Lightning, whose shapes decide activation, depth and width.

    Raises:
        UserError: There is no such head in it, or one that headsweep cannot have; says why.
    """
    task = read_task(config)
    where = f"{config}: {task.place}"
    args = {key: value for key, value in task.arguments.items() if value is not None}
    try:
        dim = int(number(args["dim"], "dim"))
        hit_fields = tuple(str(name) for name in args["hit_fields"])
        target, unit = _target(args)
        values: dict[str, Any] = {
            "features.name": "document",
            "features.assignment_threshold": number(
                args.get("assignment_threshold", THRESHOLD), "assignment_threshold"
            ),
            "pooling.projection": "mlp",
            "pooling.activation": "swiglu",
        }
        FeaturesConfig(assignment_threshold=values["features.assignment_threshold"])
        head = _head_of(args, dim)
    except KeyError as error:
        raise UserError(f"{where}: {error.args[0]} is missing") from error
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    notes = _notes(task, unit, target)
    if checkpoint is not None:
        found = read_head(checkpoint)
        _compare(found, dim, len(hit_fields), f"{checkpoint}: {found.prefix}")
        values["pooling.activation"] = found.activation
        if found.projected != dim:
            values["pooling.width"] = "half"
        stated, head = head, found.head()
        notes += [
            f"{key}: {head[key]} in the checkpoint, which counts, {stated[key]} in the YAML"
            for key in ("regression_hidden_dim", "regression_num_layers")
            if "dense" not in head and key in head and head[key] != stated[key]
        ]
        if "dense" not in head:
            head = {"regression_hidden_dim": None, **head, "dropout": stated["dropout"]}
    else:
        notes.append(
            "activation: swiglu, the default of hepattn until November 2025; with silu the "
            "checkpoint says so (--checkpoint)"
        )
    kind = "dense" if "dense" in head else "mlp"
    keys = {"activation": head["dense"]} if kind == "dense" else head
    values |= {f"head.{key}": value for key, value in keys.items()}
    values["target.name"] = target
    return ImportedHead(task, dim, hit_fields, kind, values, unit, tuple(notes))


def save(head: ImportedHead, source: Path, path: Path, force: bool) -> None:
    """Write the head as a file of the group ``head``.

    Raises:
        UserError: The file is there, or is no YAML in a folder ``head``.
    """
    if path.suffix != ".yaml" or path.parent.name != "head":
        raise UserError(
            f"--save {path}: must be a .yaml in a folder head/, such as conf/head/mine.yaml"
        )
    check_output(path, force)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, head.yaml(source.name).encode())


def print_import(config: Path, checkpoint: Path | None, path: Path | None, force: bool) -> None:
    """Print the overrides of a head and what has none, and save them where ``path`` is given."""
    found = import_head(config, checkpoint)
    print(f"{config}: {found.task.kind} at {found.task.place}, D = {found.dim}")
    print(f"{len(found.hit_fields)} hit features: {', '.join(found.hit_fields)}")
    for note in found.notes:
        print(f"- {note}")
    if data := found.data_overrides():
        print(shlex.join(["headsweep", "data", "validate", *data]))
    if path is None:
        print(shlex.join(["headsweep", "train", *found.overrides()]))
        return
    save(found, config, path, force)
    folder = shlex.quote(str(path.parent.parent))
    print(f"written to {path}; use it: headsweep train --config-dir {folder} head={path.stem}")


def _head_of(args: Mapping[str, Any], dim: int) -> dict[str, Any]:
    """Keys of the MLP head with the defaults of the task."""
    hidden = args.get("regression_hidden_dim")
    layers = int(number(args.get("regression_num_layers", LAYERS), "regression_num_layers"))
    head: dict[str, Any] = {
        "regression_hidden_dim": 9 * dim // 2
        if hidden is None
        else int(number(hidden, "regression_hidden_dim")),
        "regression_num_layers": layers,
        "dropout": number(args.get("dropout", DROPOUT), "dropout"),
    }
    MLPHeadConfig(**head)  # refuses what is out of range
    return head


def _target(args: Mapping[str, Any]) -> tuple[str, float]:
    """The target and the unit of pT, from ``fields`` and ``inverse_fields``."""
    fields = [str(name).removeprefix("truthMuon_") for name in args["fields"]]
    inverse = [str(name).removeprefix("truthMuon_") for name in args.get("inverse_fields") or []]
    found = TARGETS.get(tuple(fields[2:])) if fields[:2] == ["eta", "phi"] else None
    if found is None:
        known = "; ".join(", ".join(("eta", "phi", *rest)) for rest in TARGETS)
        raise UserError(f"fields {fields}: headsweep learns {known}, in this order")
    if not inverse:
        return found
    if inverse != ["pt"] or found != ("plain", 1.0):
        raise UserError(f"inverse_fields {inverse}: headsweep has the inverse of pt alone")
    return "inverse_pt", 1.0


def _notes(task: Task, unit: float, target: str) -> list[str]:
    """What a reader must know beside the overrides."""
    notes = []
    raw = "target.standardise=false" + (f" target.pt_unit={unit:g}" if unit != 1 else "")
    notes.append(f"targets: standardised here, in their own units in hepattn; as there: {raw}")
    for key in task.arguments:
        if key in INERT:
            notes.append(f"{key}: left out, {INERT[key]}")
        elif key not in USED | WIRING:
            notes.append(f"{key}: left out, headsweep does not know it")
    if task.folders:
        said = ", ".join(f"{key} {value}" for key, value in task.folders.items())
        notes.append(f"data: {said}; events of train_dir trained the backbone and cannot judge it")
    return notes


def _compare(found: HeadState, dim: int, features: int, where: str) -> None:
    """Refuse a checkpoint of another model than the configuration describes."""
    for name, stated, shape in (("dim", dim, found.dim), ("hit_fields", features, found.features)):
        if stated != shape:
            raise UserError(
                f"{where} has {name} {shape}, and the configuration {stated}: they do not belong "
                "together"
            )
    if found.projected not in (dim, dim // 2):
        raise UserError(
            f"{where} has projections of width {found.projected}, not {dim} or {dim // 2}"
        )


def _quoted(text: str) -> str:
    """A text as Hydra's overrides take it."""
    if re.fullmatch(r"[\w./-]+", text):
        return text
    escaped = text.replace("'", "\\'")
    return f"'{escaped}'"


def _text(value: Any) -> str:
    """A value as it stands in an override or in YAML."""
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
