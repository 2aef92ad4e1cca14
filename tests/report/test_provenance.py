"""Where the figures of a report come from."""

from pathlib import Path

from headsweep.report.content import Report


def test_the_commands_make_runs_and_report_again(root: Path, built: Report) -> None:
    train, report = built.origin.commands
    assert train.startswith("headsweep train")
    assert report == f"headsweep report presets --root {root}"


def test_the_facts_name_keys_and_seeds(built: Report) -> None:
    facts = built.origin.facts
    assert facts["cache key"] == "cache"
    assert facts["data key"] == "0" * 16
    assert facts["seeds"] == "0–4"
