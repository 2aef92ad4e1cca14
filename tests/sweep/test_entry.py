"""The verb train: one composition and one validation of a single run."""

from collections.abc import Callable

import pytest

from headsweep.sweep import compose

Command = Callable[..., tuple[int, str, str]]

SMALL = ["data=tiny", "data.source.events=60", "backbone=truth", "tracking=false", "rates=tuned"]


def test_a_single_run_is_composed_and_validated_once(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    validated = []
    validate = compose.validate_job

    def counted(*arguments: object) -> compose.Job:
        job = validate(*arguments)  # type: ignore[arg-type]
        validated.append(job)
        return job

    monkeypatch.setattr(compose, "validate_job", counted)
    code, out, _ = command("train", *SMALL, "optim.steps=4", "optim.batch_size=16")
    assert code == 0
    assert "1 of 1 members are done" in out
    assert len(validated) == 1
