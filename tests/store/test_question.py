"""The question of a sweep."""

from pathlib import Path

from headsweep.config import config_root
from headsweep.store.question import question


def test_questions_are_read_from_the_file_of_the_sweep(tmp_path: Path) -> None:
    for file in (config_root() / "sweeps").glob("*.yaml"):
        found = question(f"headsweep train sweeps={file.stem} seeds=2")
        assert found
        assert "Command:" not in found
    own = tmp_path / "sweeps" / "mine.yaml"
    own.parent.mkdir()
    own.write_text("# @package _global_\n# Question: one\n#   line more?\n# Time: 1 s\n")
    command = f"headsweep train --config-dir {tmp_path} sweeps=mine"
    assert question(command) == "one line more?"
    assert question("headsweep train sweeps=absent") == ""
    assert question("headsweep train -m head=simpler") == ""
