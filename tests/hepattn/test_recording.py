"""What a recording writes with the features, how it numbers events, and what it refuses."""

from pathlib import Path

import pytest
import torch

from headsweep.errors import UserError
from headsweep.events.base import file_hash
from headsweep.events.frozen_folder import NUMBERS, read_metadata
from helpers.toy_hepattn import FIELDS, SPLITS, ToyMaskFormer, record, source, started


def test_the_folder_says_which_model_wrote_it_and_how(tmp_path: Path) -> None:
    record(ToyMaskFormer(), tmp_path / "f")
    about = read_metadata(tmp_path / "f")
    assert about["model"] == {
        "checkpoint": "toy.ckpt",
        "sha256": file_hash(tmp_path / "toy.ckpt"),
        "commit": "4d1f84b",
        "logits": "layer_1",
        "precision": "float32, matmul highest",
    }
    assert about["features"] == FIELDS
    assert {split: count["events"] for split, count in about["counts"].items()} == {
        split: 3 * count for split, count in SPLITS.items()
    }
    table = source(tmp_path / "f").load(tmp_path)
    tracks = sum(count["tracks"] for count in about["counts"].values())
    assert tracks == len(table.tracks)


def test_the_precision_of_autocast_is_recorded(tmp_path: Path) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        record(ToyMaskFormer(), tmp_path / "f")
    assert read_metadata(tmp_path / "f")["model"]["precision"].startswith("bfloat16")


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    model = ToyMaskFormer(main=True, sort_field="phi")
    writer, inputs, targets = started(model, tmp_path / "f")
    with pytest.raises(UserError, match="no pass of the model"):
        writer.write("train", targets)
    model(inputs)
    with pytest.raises(UserError, match="particle_truthMuon_pt: the targets lack it"):
        writer.write("train", {k: v for k, v in targets.items() if not k.endswith("_pt")})
    with pytest.raises(UserError, match="split 'dev': must be one of train, val, test"):
        writer.write("dev", targets)
    model.loss(model(inputs), targets, inputs)
    with pytest.raises(UserError, match="write before the loss"):
        writer.write("train", targets)
    model = ToyMaskFormer()
    started(model, tmp_path / "g", fields=["r", "spacePoint_time"])
    with pytest.raises(UserError, match="hit_spacePoint_time: the inputs of the model lack it"):
        model(inputs)


def test_hits_in_another_order_than_the_encoded_ones_are_refused(tmp_path: Path) -> None:
    """As a sorter would leave them that the model does not name."""
    model = ToyMaskFormer(main=True, sort_field="phi")
    _, inputs, _ = started(model, tmp_path / "f")
    model.tasks[1].register_forward_pre_hook(lambda *_: setattr(model, "sorter", None))
    with pytest.raises(UserError, match="differ in their order"):
        model(inputs)


def test_events_may_have_numbers_of_their_own(tmp_path: Path) -> None:
    model = ToyMaskFormer()
    writer, inputs, targets = started(model, tmp_path / "f")
    model(inputs)
    writer.write("test", targets, [70, 8, 9])
    del targets["sample_id"]
    model(inputs)
    writer.write("test", targets)
    writer.close()
    found = source(tmp_path / "f").load(tmp_path)
    assert found.ids.tolist() == [70, 8, 9, 3 + 2 * NUMBERS, 4 + 2 * NUMBERS, 5 + 2 * NUMBERS]
    assert found.origin is not None
    assert found.origin.tolist() == [2] * 6
