"""The page of ten commands: each runs on what those before it left, at smoke size."""

import re
import shlex
from pathlib import Path

import pytest
import torch

from helpers import documents
from helpers.command import Command
from helpers.frozen import write_folder

pytestmark = pytest.mark.slow

PAGE = "docs/how-to/defend.md"
SMALL = [
    "optim.steps=2",
    "optim.batch_size=16",
    "seeds=2",
    "workers=1",
    "tracking=false",
    "rates.seeds=1",
]
WIDTH = 256

SHAPES = {
    "raw_hit_net.net.0": (20, 5),
    "raw_hit_net.net.2": (32, 10),
    "encoded_hit_net.net.0": (128, 32),
    "encoded_hit_net.net.2": (32, 64),
    "regression_head.0": (WIDTH, 288),
    "regression_head.4": (WIDTH, WIDTH),
    "regression_head.8": (WIDTH, WIDTH),
    "regression_head.12": (4, WIDTH),
}
"""Weights of the task of my_conf/tasks.yaml, which the page on hepattn shows."""


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    """What the page calls CONFIG.yaml, FILE.ckpt and FOLDER."""
    documents.write_files(documents.pages()["docs/how-to/hepattn.md"], tmp_path)
    documents.write_files(documents.pages()[PAGE], tmp_path)
    weights = {f"model.tasks.2.{name}.weight": torch.zeros(s) for name, s in SHAPES.items()}
    for place in (2, 6, 10):
        weights[f"model.tasks.2.regression_head.{place}.weight"] = torch.ones(WIDTH)
    torch.save({"state_dict": weights}, tmp_path / "model.ckpt")
    write_folder(tmp_path / "frozen", events=120, dim=32)
    return {
        "CONFIG.yaml": tmp_path / "my_conf/tasks.yaml",
        "FILE.ckpt": tmp_path / "model.ckpt",
        "FOLDER": tmp_path / "frozen",
    }


@pytest.mark.usefixtures("working_here")
def test_the_ten_commands(
    inputs: dict[str, Path], command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = documents.commands(documents.pages()[PAGE])
    for line in lines:
        words = shlex.split(line)[1:]
        for name, path in inputs.items():
            words = [word.replace(name, str(path)) for word in words]
        training = words[0] == "train"
        code, out, err = command(*words, *(SMALL if training else []))
        assert code == 0, f"{line}\n{err}"
        if "--dry-run" in words:
            assert "rates=auto: 3 configurations" in out
        elif training and any(w.startswith("sweeps=") for w in words):
            assert "learning rate" in out
            assert re.search(r"(\d+) of \1 \w+ are done", out), line
    assert len([line for line in lines if not line.startswith("headsweep report")]) == 9
    [theirs] = (tmp_path / "runs/sweeps/confirmed").glob("jobs/0/config.yaml")
    assert "regression_num_layers: 4\n" in theirs.read_text()
    assert (tmp_path / "runs/test_ledger.jsonl").is_file()
    assert (tmp_path / "exported/head.safetensors").is_file()
