"""The ledger counts the readings of one sample, and of no other."""

from pathlib import Path

import pytest

from headsweep.errors import UserError
from headsweep.store import ledger
from headsweep.store.paths import LEDGER

ONE, OTHER = {"a" * 16: "a new sample"}, {"b" * 16: "a fixed split"}


def test_only_readings_of_the_same_sample_count(tmp_path: Path) -> None:
    first = ledger.record(tmp_path, "confirm", ONE, ["conservative", "trial 5"], "0.1.0")
    assert (first.before, first.words()) == ([], "never read before")
    assert ledger.record(tmp_path, "acts", OTHER, ["simpler"], "0.1.0").before == []
    again = ledger.record(tmp_path, "confirm", ONE, ["conservative"], "0.1.0")
    third = ledger.record(tmp_path, "again", ONE | OTHER, ["conservative"], "0.2.0")
    assert again.words() == "read 1x before (confirm 1x)"
    assert third.words() == "read 3x before (confirm 2x, acts 1x)"
    assert len((tmp_path / LEDGER).read_text().splitlines()) == 4
    lines = ledger.read_all(tmp_path)
    assert [line.sweep for line in lines] == ["confirm", "acts", "confirm", "again"]
    assert lines[0].configurations == ["conservative", "trial 5"]
    assert lines[0].time.endswith("+00:00")
    assert "a new sample (key aaaaaaaaaaaaaaaa), read 1x before" in again.note()


def test_a_damaged_line_is_named_and_nothing_is_read(tmp_path: Path) -> None:
    ledger.record(tmp_path, "confirm", ONE, [], "0.1.0")
    with (tmp_path / LEDGER).open("a") as file:
        file.write('{"time": "2026-')
    with pytest.raises(UserError, match=r"test_ledger\.jsonl, line 2: cannot be read"):
        ledger.record(tmp_path, "confirm", ONE, [], "0.1.0")
