"""The file of a trained transformer: safetensors whose content is checked when it is read."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save as serialise
from torch import Tensor

from headsweep.errors import UserError, reading
from headsweep.files import write_atomic

FORMAT = 2
"""1 had neither a checksum nor the hashes of the training events."""

SEEN = "events seen in training"
"""Name of the tensor of hashes, beside the weights."""

FACTS: Mapping[str, type | tuple[type, ...]] = {
    "command": str,
    "data_key": str,
    "split": dict,
    "training_events": int,
    "validation_events": int,
    "threshold": (int, float),
    "purity": (int, float),
    "efficiency": (int, float),
}
"""Type of each fact about a training, where it is there."""

TRAIN = "train one with `headsweep backbone`"


@dataclass(frozen=True)
class Checkpoint:
    """Content of a checkpoint.

    Attributes:
        architecture: Arguments of ``transformer.Architecture``.
        facts: Facts about the training.
        weights: Weights and standardisation by name.
        seen: Hashes of the training's true tracks or events, see ``base.Backbone``, uint64 [N];
            None if they are not known.
    """

    architecture: dict[str, Any]
    facts: dict[str, Any]
    weights: dict[str, Tensor]
    seen: NDArray[np.uint64] | None


def write(path: Path, content: Checkpoint) -> None:
    """Write a checkpoint."""
    tensors = {name: tensor.contiguous() for name, tensor in content.weights.items()}
    if content.seen is not None:
        tensors[SEEN] = torch.from_numpy(content.seen.view(np.int64).copy())
    header = {"format": FORMAT, "architecture": content.architecture, "facts": content.facts}
    header["checksum"] = _checksum(header, tensors)
    write_atomic(path, serialise(tensors, {"headsweep": json.dumps(header, sort_keys=True)}))


def read(path: Path, where: str) -> Checkpoint:
    """Read a checkpoint and check it; no code in it runs.

    Args:
        path: The file.
        where: The key that names it, for messages.

    Raises:
        UserError: The file is missing, is no checkpoint, or is not what was written.
    """
    if not path.is_file():
        raise UserError(f"{where}: no such file; {TRAIN}")
    with reading(where, f"it is not a checkpoint of headsweep; {TRAIN}"):
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["headsweep"])
            # What safetensors opens is no mapping, and has no other way to its names.
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        _check_header(header, where)
        if header.pop("checksum") != _checksum(header, tensors):
            raise UserError(f"{where}: its content is not what was written; take a good copy of it")
        seen = tensors.pop(SEEN).numpy().view(np.uint64) if SEEN in tensors else None
    return Checkpoint(header["architecture"], header["facts"], tensors, seen)


def _check_header(header: Any, where: str) -> None:
    """Refuse another format, and facts of a wrong type."""
    if header["format"] == 1:
        command = str(header["facts"].get("command", "headsweep backbone"))
        raise UserError(
            f"{where}: format 1 does not say which events it was trained on, so that none could be "
            f"kept out of its test; make it again with `{command}`, which gives the same weights"
        )
    if header["format"] != FORMAT:
        raise UserError(f"{where}: format {header['format']}, this version reads {FORMAT}")
    for name in ("architecture", "facts"):
        if not isinstance(header[name], dict):
            raise TypeError(f"{name} must be a mapping")
    for name, kind in FACTS.items():
        value = header["facts"].get(name)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise TypeError(f"{name}={value!r} among its facts is of the wrong type")


def _checksum(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
