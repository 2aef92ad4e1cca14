"""Where the figures of a report come from."""

from pathlib import Path

from headsweep.config import config_root
from headsweep.report import provenance
from headsweep.report.content import Report


def test_questions_are_read_from_the_file_of_the_sweep(tmp_path: Path) -> None:
    for file in (config_root() / "sweeps").glob("*.yaml"):
        found = provenance.question(f"headsweep train sweeps={file.stem} seeds=2")
        assert found
        assert "Command:" not in found
    own = tmp_path / "sweeps" / "mine.yaml"
    own.parent.mkdir()
    own.write_text("# @package _global_\n# Question: one\n#   line more?\n# Time: 1 s\n")
    command = f"headsweep train --config-dir {tmp_path} sweeps=mine"
    assert provenance.question(command) == "one line more?"
    assert provenance.question("headsweep train sweeps=absent") == ""
    assert provenance.question("headsweep train -m head=simpler") == ""


def test_the_commands_make_runs_and_report_again(root: Path, built: Report) -> None:
    train, report = built.origin.commands
    assert train.startswith("headsweep train")
    assert report == f"headsweep report presets --root {root}"


def test_the_facts_name_keys_and_seeds(built: Report) -> None:
    facts = built.origin.facts
    assert facts["cache key"] == "cache"
    assert facts["data key"] == "0" * 16
    assert facts["seeds"] == "0–4"
