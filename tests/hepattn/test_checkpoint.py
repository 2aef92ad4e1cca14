"""A real Lightning checkpoint read without hepattn, and files that must not be read."""

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from headsweep.errors import UserError
from headsweep.hepattn.checkpoint import read_head
from helpers.upstream import NEEDS_UPSTREAM, UPSTREAM, golden, group


@NEEDS_UPSTREAM
def test_the_head_of_a_real_checkpoint() -> None:
    """The same weights that the real task had in memory, and what their shapes say."""
    found = read_head(UPSTREAM / "lightning.ckpt")
    want = group(golden("frozen_events")[1], "head/")
    assert found.weights.keys() == want.keys()
    assert all(torch.equal(found.weights[name], want[name]) for name in want)
    assert found.prefix == "model.tasks.2."
    assert (found.dim, found.features, found.projected) == (32, 23, 32)
    assert found.activation == "swiglu"
    assert found.head() == {"regression_num_layers": 3, "regression_hidden_dim": 144}
    assert found.epoch == golden("frozen_events")[0]["checkpoint"]["epoch"]


def write(path: Path, content: object, **files: bytes) -> Path:
    """A checkpoint with a pickle of our own."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content, protocol=2))
        for name, data in files.items():
            archive.writestr(f"archive/{name}", data)
    return path


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> Any:
        return self.reduced


@pytest.mark.parametrize("place", ["hyper_parameters", "state_dict"])
@pytest.mark.parametrize(
    ("function", "named"),
    [(os.system, "system"), (eval, "eval"), (exec, "exec"), (open, "open"), (__import__, "import")],
)
def test_a_hostile_file_runs_nothing(tmp_path: Path, function: Any, named: str, place: str) -> None:
    mark = tmp_path / "ran"
    hostile = Hostile(function, f"touch {mark}")
    path = write(tmp_path / "evil.ckpt", {"state_dict": {}, place: hostile})
    with pytest.raises(UserError, match=named) as caught:
        read_head(path)
    assert str(path) in str(caught.value)
    assert not mark.exists()


def test_names_of_the_allowed_libraries_run_nothing_either(tmp_path: Path) -> None:
    """A function of torch or functools is no more resolved than one of hepattn."""
    saved = tmp_path / "inner"
    torch.save({}, saved)
    evil = {"state_dict": {}, "a": Hostile(torch.load, str(saved), None, None)}
    with pytest.raises(UserError, match="none of its 0 weights"):
        read_head(write(tmp_path / "evil.ckpt", evil))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3}, "no state_dict"),
        ([1, 2], "no state_dict"),
        ({"state_dict": {"a": 3}}, "no state_dict"),
        ({"state_dict": {}}, "none of its 0 weights"),
    ],
)
def test_a_file_without_a_head_is_refused(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_head(write(tmp_path / "x.ckpt", content))


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "no pickle"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x.ckpt"
    torch.save({"state_dict": {"a.raw_hit_net.net.0.weight": torch.zeros(3, 2)}}, path)
    whole = path.read_bytes()
    if damage == "no pickle":
        buffer = io.BytesIO()
        zipfile.ZipFile(buffer, "w").close()
        whole = buffer.getvalue()
    path.write_bytes({"empty": b"", "text": b"epoch: 3\n", "cut": whole[:300]}.get(damage, whole))
    with pytest.raises(UserError, match=r"x\.ckpt"):
        read_head(path)


def state(activation: int, head: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    shapes: dict[str, tuple[int, ...]] = {
        "raw_hit_net.net.0.weight": (activation * 5, 5),
        "raw_hit_net.net.2.weight": (4, 10),
        "encoded_hit_net.net.0.weight": (activation * 8, 8),
        "encoded_hit_net.net.2.weight": (4, 16),
    } | {f"regression_head.{name}": shape for name, shape in head.items()}
    return {f"model.tasks.1.{name}": torch.zeros(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("activation", "head", "want"),
    [
        (2, {"0.weight": (4, 40)}, {"regression_num_layers": 1}),
        (
            4,
            {"0.weight": (7, 40), "2.weight": (7,), "4.weight": (4, 7)},
            {"regression_num_layers": 2, "regression_hidden_dim": 7},
        ),
        (4, {"net.0.weight": (160, 40), "net.2.weight": (4, 80)}, {"dense": "swiglu"}),
        (4, {"net.0.weight": (80, 40), "net.2.weight": (4, 80)}, {"dense": "silu"}),
    ],
)
def test_shapes_say_what_the_head_is(
    tmp_path: Path, activation: int, head: dict[str, tuple[int, ...]], want: dict[str, Any]
) -> None:
    path = tmp_path / "x.ckpt"
    torch.save({"state_dict": state(activation, head), "epoch": 4}, path)
    found = read_head(path)
    assert found.activation == {2: "silu", 4: "swiglu"}[activation]
    assert (found.dim, found.features, found.projected, found.epoch) == (8, 5, 4, 4)
    assert found.head() == want


def test_shapes_that_no_head_has_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    uneven = {"0.weight": (7, 40), "4.weight": (6, 7), "8.weight": (4, 6)}
    torch.save({"state_dict": state(4, uneven)}, path)
    with pytest.raises(UserError, match="regression_head"):
        read_head(path).head()
    torch.save({"state_dict": state(3, {"0.weight": (4, 40)})}, path)
    with pytest.raises(UserError, match="15 x 5"):
        _ = read_head(path).activation


@NEEDS_UPSTREAM
@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_truncated_checkpoint_says_so(tmp_path: Path, share: float) -> None:
    content = (UPSTREAM / "lightning.ckpt").read_bytes()
    path = tmp_path / "cut.ckpt"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"cut\.ckpt: truncated, or no checkpoint of PyTorch; copy"):
        read_head(path)
