"""Weights of a head in a Lightning checkpoint of hepattn, read without building any class.

A ``.ckpt`` is a zip with one pickle and one file for each tensor. The pickle holds the whole model,
so ``torch.load`` needs hepattn and would run its code. Here the pickle is read by an unpickler that
resolves no name: tensors are made from their files, dictionaries are dictionaries, and every other
object becomes an empty one. A name outside the libraries of a training is refused.
"""

import pickle
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headsweep.errors import UserError, reading

LIBRARIES = (
    *("hepattn", "torch", "lightning", "lightning_fabric", "lightning_utilities"),
    *("pytorch_lightning", "torchmetrics", "numpy", "collections", "functools", "pathlib"),
)
"""Packages whose objects a checkpoint may name; none is imported."""

PLAIN = {"set", "frozenset", "dict", "list", "tuple", "int", "float", "bool", "str", "bytes"}
PLAIN |= {"complex", "slice", "range", "object", "getattr"}
"""Built-in names that it may have, too."""

DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
"""Type of the numbers in each kind of storage."""

MEND = "give the .ckpt that Lightning wrote, or leave --checkpoint out"
POOLED = "raw_hit_net.net.0.weight"
"""A weight that every task with pooled hits has."""


@dataclass(frozen=True)
class HeadState:
    """Weights of the regression task in a checkpoint.

    Attributes:
        prefix: What stands before their names, such as ``model.tasks.2.``.
        weights: The weights by their names behind it.
        epoch: Epoch of the training; None if it is not said.
    """

    prefix: str
    weights: dict[str, Tensor]
    epoch: int | None

    @property
    def dim(self) -> int:
        """Width D of the model."""
        return self.weights["encoded_hit_net.net.0.weight"].shape[1]

    @property
    def features(self) -> int:
        """Number of raw hit features, F."""
        return self.weights[POOLED].shape[1]

    @property
    def projected(self) -> int:
        """Width of a projection."""
        return self.weights["raw_hit_net.net.2.weight"].shape[0]

    @property
    def activation(self) -> str:
        """``swiglu`` or ``silu``, by the rows of the first layer of a projection: 4F or 2F."""
        return _activation(self.weights[POOLED])

    def head(self) -> dict[str, Any]:
        """Keys of the head: ``regression_num_layers`` and ``regression_hidden_dim``, or ``dense``.

        Raises:
            UserError: Its weights are those of neither.
        """
        dense = self.weights.get("regression_head.net.0.weight")
        if dense is not None:
            return {"dense": _activation(dense)}
        layers = [
            value
            for name, value in sorted(self.weights.items(), key=_layer)
            if name.startswith("regression_head.") and value.ndim == 2
        ]
        widths = {layer.shape[0] for layer in layers[:-1]}
        if not layers or len(widths) > 1:
            raise UserError(
                f"{self.prefix}regression_head: no head of equal hidden layers has layers of "
                f"{[list(layer.shape) for layer in layers]}"
            )
        found: dict[str, Any] = {"regression_num_layers": len(layers)}
        return found | ({"regression_hidden_dim": widths.pop()} if widths else {})


def read_head(path: Path) -> HeadState:
    """Read the weights of the regression task.

    Raises:
        UserError: The file is no checkpoint, or names what a training has no use for, or has no
            task with pooled hits, or several.
    """
    with reading(path, MEND):
        try:
            content = _unpickle(path)
        except zipfile.BadZipFile as error:
            raise UserError(
                f"{path}: truncated, or no checkpoint of PyTorch; copy it again, or {MEND}"
            ) from error
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{path}: there is no state_dict of tensors in it; {MEND}")
    prefixes = sorted(name.removesuffix(POOLED) for name in state if name.endswith(POOLED))
    if not prefixes:
        raise UserError(
            f"{path}: none of its {len(state)} weights is called ..{POOLED}: no task of this model "
            "pools hits, so there is no head to take over"
        )
    if len(prefixes) > 1:
        raise UserError(f"{path}: {len(prefixes)} tasks pool hits: {', '.join(prefixes)}; keep one")
    [prefix] = prefixes
    own = {name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)}
    epoch = content.get("epoch")
    return HeadState(prefix, own, epoch if isinstance(epoch, int) else None)


def _activation(first: Tensor) -> str:
    rows, inputs = first.shape
    names = {4 * inputs: "swiglu", 2 * inputs: "silu"}
    if rows not in names:
        raise UserError(
            f"a first layer of {rows} x {inputs}: neither SwiGLU nor SiLU of 2 x {inputs}"
        )
    return names[rows]


def _layer(item: tuple[str, Tensor]) -> int:
    number = item[0].split(".")[1]
    return int(number) if number.isdecimal() else -1


class _Inert:
    """Stands for an object of a class that is not resolved: takes anything, does nothing."""

    def __new__(cls, *_: object, **__: object) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None: ...

    def __call__(self, *_: object, **__: object) -> "_Inert":
        return _Inert()

    def __setstate__(self, _: object) -> None: ...

    def __setitem__(self, *_: object) -> None: ...

    def append(self, _: object) -> None:
        """Take an item."""

    def extend(self, _: object) -> None:
        """Take items."""


class _Dict(dict[Any, Any]):
    """An ``OrderedDict``, whose attributes are left out."""

    def __setstate__(self, _: object) -> None: ...


def _unpickle(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        [name] = [n for n in archive.namelist() if n.endswith("/data.pkl")]
        folder = name.removesuffix("data.pkl")
        order = f"{folder}byteorder"
        if order in archive.namelist() and archive.read(order).strip() != b"little":
            raise UserError(f"{path}: written on a big-endian machine, which is not supported")
        return _Unpickler(BytesIO(archive.read(name)), archive, f"{folder}data/", path).load()


class _Unpickler(pickle.Unpickler):
    """Unpickler that makes tensors and plain values, and resolves no name."""

    def __init__(self, file: BytesIO, archive: zipfile.ZipFile, folder: str, path: Path) -> None:
        super().__init__(file)
        self._archive, self._folder, self._path = archive, folder, path

    def find_class(self, module: str, name: str) -> Any:
        if module == "collections" and name == "OrderedDict":
            return _Dict
        if module == "torch._utils" and name == "_rebuild_tensor_v2":
            return self._tensor
        if module == "torch._utils" and name == "_rebuild_parameter":
            return lambda data, *_: data
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        known = module in ("builtins", "__builtin__") and name in PLAIN
        if not known and module.partition(".")[0] not in LIBRARIES:
            raise UserError(
                f"{self._path}: not read, as it names {module}.{name}: a checkpoint has no "
                "use for it. Where it is yours, save the state_dict of the model alone"
            )
        return _Inert

    def persistent_load(self, pid: Any) -> Any:
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise ValueError(f"storage {pid} of an unknown kind")
        return dtype, str(key), int(count)

    def _tensor(
        self,
        storage: tuple[torch.dtype, str, int],
        offset: int,
        size: Sequence[int],
        stride: Sequence[int],
        *_: object,
    ) -> Tensor:
        dtype, key, count = storage
        content = bytearray(self._archive.read(self._folder + key))
        if len(content) != count * dtype.itemsize:
            raise ValueError(f"tensor {key} has {len(content)} bytes, not {count * dtype.itemsize}")
        flat = torch.frombuffer(content, dtype=dtype) if count else torch.zeros(0, dtype=dtype)
        return flat.as_strided(tuple(size), tuple(stride), offset).clone()
