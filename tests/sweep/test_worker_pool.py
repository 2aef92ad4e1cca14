"""The workers of a command: how they are started, and what is said when none can be."""

import sys

import pytest

from helpers.command import SMALL, Command


def test_workers_that_cannot_start_are_an_error(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    code, _, err = command("train", "-m", *SMALL, "head.dropout=0.1,0.2")
    assert code == 2
    assert "exit code 1" in err
    assert "worker-0.log" in err
