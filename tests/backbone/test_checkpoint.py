"""The file of a transformer: what was written comes back, or the file is refused by name."""

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save as serialise
from torch import Tensor

from headsweep.backbone.checkpoint import SEEN, Checkpoint, read, write
from headsweep.backbone.transformer import SHIPPED, Architecture, HitTransformer, load, save
from headsweep.errors import UserError
from headsweep.events.base import event_hashes
from helpers.toy_events import FEATURES, toy_events

Header = dict[str, Any]


@pytest.fixture(scope="module")
def model() -> HitTransformer:
    torch.manual_seed(0)
    shape = Architecture(FEATURES, queries=2, dim=8, hidden=8, heads=2)
    facts = {"purity": 0.5, "training_events": 20, "command": "headsweep backbone"}
    return HitTransformer(shape, facts, event_hashes(toy_events(20))).freeze()


@pytest.fixture(scope="module")
def good(model: HitTransformer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "good.safetensors"
    save(model, path)
    return path


def rewrite(path: Path, new: Path, change: Callable[[Header, dict[str, Tensor]], None]) -> str:
    """A checkpoint with other content, as someone who knows safetensors makes it."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["headsweep"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(header, tensors)
    new.write_bytes(serialise(tensors, {"headsweep": json.dumps(header)}))
    return str(new)


def outcome(path: Path) -> tuple[HitTransformer | None, str]:
    """The transformer in a file, or why it is refused."""
    try:
        return load(str(path)), ""
    except UserError as error:
        return None, str(error)


def test_everything_comes_back(model: HitTransformer, good: Path) -> None:
    loaded = load(str(good))
    assert loaded.key() == model.key()
    assert loaded.shape == model.shape
    assert loaded.facts == model.facts
    np.testing.assert_array_equal(loaded.seen, event_hashes(toy_events(20)))


def test_the_hashes_are_no_part_of_the_key(model: HitTransformer, tmp_path: Path) -> None:
    other = HitTransformer(model.shape)
    other.load_state_dict(model.state_dict())
    save(other, tmp_path / "a")
    assert load(str(tmp_path / "a")).key() == model.key()
    assert load(str(tmp_path / "a")).seen is None


@pytest.mark.parametrize("part", ["the file's header", "anywhere"])
@settings(max_examples=60)
@given(data=st.data())
def test_a_flipped_bit_changes_nothing_or_is_refused(
    part: str, data: st.DataObject, model: HitTransformer, good: Path
) -> None:
    content = bytearray(good.read_bytes())
    length = 8 + int.from_bytes(content[:8], "little")
    last = length if part == "the file's header" else len(content)
    place = data.draw(st.integers(0, last - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    path = good.with_name("flipped")
    path.write_bytes(content)
    loaded, words = outcome(path)
    if loaded is None:
        assert str(path) in words
        return
    assert place < length  # such as the case of a letter that the library does not read
    assert (loaded.key(), loaded.facts) == (model.key(), model.facts)
    np.testing.assert_array_equal(loaded.seen, event_hashes(toy_events(20)))


def test_a_flipped_byte_of_the_shipped_one_is_found(tmp_path: Path) -> None:
    content = bytearray(SHIPPED.read_bytes())
    for place in (-1, len(content) // 2):
        damaged = content.copy()
        damaged[place] ^= 1
        (tmp_path / "copy").write_bytes(damaged)
        with pytest.raises(UserError, match="copy: its content is not what was written"):
            load(str(tmp_path / "copy"))


CHANGES: dict[str, Callable[[Header, dict[str, Tensor]], object]] = {
    "facts": lambda header, tensors: header["facts"].update(purity=0.9),
    "facts of another kind": lambda header, tensors: header.update(facts="none"),
    "weight": lambda header, tensors: tensors["queries"].add_(1),
    "missing tensor": lambda header, tensors: tensors.pop("queries"),
    "extra tensor": lambda header, tensors: tensors.update(a=torch.zeros(1)),
    "seen": lambda header, tensors: tensors[SEEN].add_(1),
    "no checksum": lambda header, tensors: header.pop("checksum"),
    "architecture": lambda header, tensors: header["architecture"].update(queries=3),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_content_is_refused(good: Path, tmp_path: Path, change: str) -> None:
    name = rewrite(good, tmp_path / "changed", CHANGES[change])
    with pytest.raises(
        UserError, match=r"changed: (its content is not what|cannot be read .* not a checkpoint of)"
    ):
        load(name)


CONTENT: dict[str, tuple[Callable[[Checkpoint], Checkpoint], str]] = {
    "fact": (lambda c: replace(c, facts={"purity": "high"}), "purity='high' .* wrong type"),
    "facts": (lambda c: replace(c, facts=["a"]), "facts must be a mapping"),
    "split": (lambda c: replace(c, facts={"split": 3}), "split=3 .* wrong type"),
    "missing": (
        lambda c: replace(c, weights={k: v for k, v in c.weights.items() if k != "queries"}),
        r"tensor 'queries' is missing; its architecture needs it torch.float32 \[2, 8\]",
    ),
    "extra": (lambda c: replace(c, weights={**c.weights, "b": torch.zeros(2)}), "'b' is torch"),
    "shape": (
        lambda c: replace(c, weights={**c.weights, "queries": torch.zeros(3, 8)}),
        r"'queries' is torch.float32 \[3, 8\]",
    ),
    "type": (
        lambda c: replace(c, weights={k: v.double() for k, v in c.weights.items()}),
        "is torch.float64",
    ),
    "NaN": (
        lambda c: replace(c, weights={**c.weights, "queries": torch.full((2, 8), torch.nan)}),
        "tensor 'queries' is not finite",
    ),
    "infinite output": (
        lambda c: replace(c, weights={k: v * 1e30 for k, v in c.weights.items()}),
        "its output is not finite",
    ),
    "no deviation": (
        lambda c: replace(c, weights={**c.weights, "std": torch.zeros_like(c.weights["std"])}),
        "its output is not finite",
    ),
    "key": (lambda c: replace(c, architecture={"features": ["x"], "depth": 1}), "depth"),
    "size": (lambda c: replace(c, architecture={**c.architecture, "dim": "8"}), "architecture"),
    "huge": (lambda c: replace(c, architecture={**c.architecture, "dim": 10**9}), "tensor"),
    "none": (lambda c: replace(c, architecture={}), "'features' is missing"),
}


@pytest.mark.parametrize("case", CONTENT)
def test_content_that_makes_no_backbone_is_refused(good: Path, tmp_path: Path, case: str) -> None:
    """With the right checksum, so that it was written like this."""
    change, message = CONTENT[case]
    write(tmp_path / "odd", change(read(good, "")))
    with pytest.raises(UserError, match=f"backbone.checkpoint={tmp_path / 'odd'}: .*{message}"):
        load(str(tmp_path / "odd"))


def test_an_old_checkpoint_says_how_to_make_it_again(good: Path, tmp_path: Path) -> None:
    def old(header: Header, tensors: dict[str, Tensor]) -> None:
        header["format"] = 1
        del header["checksum"], tensors[SEEN]

    name = rewrite(good, tmp_path / "old", old)
    with pytest.raises(UserError, match=r"format 1 does not say .* again with `headsweep"):
        load(name)


def test_a_pickle_is_refused_and_does_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"a": Evil()}, tmp_path / "torch")
    (tmp_path / "plain").write_bytes(pickle.dumps(Evil()))
    for name in ("torch", "plain"):
        with pytest.raises(UserError, match="not a checkpoint of headsweep"):
            load(str(tmp_path / name))
    assert not (tmp_path / "ran").exists()
