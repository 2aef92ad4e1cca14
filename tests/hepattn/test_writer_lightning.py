"""The callback in a real run of Lightning."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from headsweep.errors import UserError
from headsweep.events.frozen_folder import read_metadata
from headsweep.hepattn.writer import RecordFeatures
from helpers.toy_hepattn import FIELDS, SPLITS, ToyMaskFormer, batches, record, source

lightning = pytest.importorskip("lightning.pytorch", reason="needs headsweep[hepattn]")


class Wrapper(lightning.LightningModule):  # type: ignore[misc]
    """Has the model below ``model``, and its loss spoils what it can."""

    def __init__(self, model: ToyMaskFormer) -> None:
        super().__init__()
        self.model = model

    def test_step(self, batch: Any) -> Tensor:
        inputs, targets = batch
        return self.model.loss(self.model(inputs), targets, inputs)

    def predict_step(self, batch: Any) -> Tensor:
        return self.test_step(batch)


def trainer(*callbacks: Any) -> Any:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return lightning.Trainer(
        accelerator="cpu", devices=1, callbacks=list(callbacks), enable_checkpointing=False, **quiet
    )


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint that Lightning itself has saved."""
    module, own = Wrapper(ToyMaskFormer(main=True, sort_field="phi")), trainer()
    own.strategy.connect(module)
    own.save_checkpoint(tmp_path / "toy.ckpt")
    return tmp_path / "toy.ckpt"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::Warning:lightning")
def test_it_records_what_the_writer_records(tmp_path: Path, checkpoint: Path) -> None:
    """``test`` for one folder of the data and ``predict`` for the next."""
    for number, ((split, count), verb) in enumerate(
        zip(SPLITS.items(), ("test", "predict"), strict=True)
    ):
        loader = DataLoader(list(batches(number, count)), batch_size=None)
        callback = RecordFeatures(str(tmp_path / "found"), split, "4d1f84b")
        module = Wrapper(ToyMaskFormer(main=True, sort_field="phi"))
        getattr(trainer(callback), verb)(module, loader, ckpt_path=checkpoint)
    record(ToyMaskFormer(main=True, sort_field="phi"), tmp_path / "want")
    found, want = (read_metadata(tmp_path / name) for name in ("found", "want"))
    assert found["model"] == want["model"] | {"sha256": found["model"]["sha256"]}
    assert found["counts"] == want["counts"]
    assert found["features"] == FIELDS
    one, other = (source(tmp_path / name).load(tmp_path) for name in ("found", "want"))
    for name in ("hits", "hit_track", "hit_offsets", "tracks", "ids", "origin"):
        assert (getattr(one, name) == getattr(other, name)).all(), name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::Warning:lightning")
def test_it_needs_the_checkpoint(tmp_path: Path) -> None:
    callback = RecordFeatures(str(tmp_path / "f"), "test", "4d1f84b")
    loader = DataLoader(list(batches(0, 1)), batch_size=None)
    with torch.no_grad(), pytest.raises(UserError, match="ckpt_path: cannot be read"):
        trainer(callback).test(Wrapper(ToyMaskFormer()), loader)
