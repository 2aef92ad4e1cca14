"""What is left to Hydra itself: other sweepers, and the configuration that is shown."""

from pathlib import Path

import pytest

from helpers.command import SMALL, Command


@pytest.mark.slow
def test_the_official_sweeper_can_be_chosen(command: Command, tmp_path: Path) -> None:
    search = ["sweeps=search", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2"]
    code, _, err = command("train", *SMALL, *search, "seeds=1")
    assert code == 0, err
    jobs = tmp_path / "runs/sweeps/search/jobs"
    assert sorted(path.name for path in jobs.iterdir()) == ["0", "1"]


def test_a_configuration_is_shown_and_nothing_is_made(command: Command, tmp_path: Path) -> None:
    code, out, _ = command("train", "sweeps=presets", "seeds=3", "--cfg", "job")
    assert code == 0
    assert "seeds: 3" in out.splitlines()
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_composed_is_one_short_error(command: Command) -> None:
    code, _, err = command("train", "head=simplest", "--cfg", "job")
    assert code == 2
    assert "head/simplest" in err
    assert "Traceback" not in err


LOGGING = "version: 1, handlers: {x: {(): os.system, command: touch pwned}}, root: {handlers: [x]}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sweeper", "keys"),
    [
        ("headsweep", "callbacks: {x: {_target_: os.system, command: touch pwned}}"),
        ("headsweep", f"hydra_logging: {{{LOGGING}}}"),
        ("optuna", "sweeper: {sampler: {_target_: os.system, command: touch pwned}}"),
        ("headsweep", "sweeper: {_target_: os.system}"),
        ("optuna", "launcher: {_target_: os.system}"),
    ],
)
def test_no_code_runs_from_hydras_keys_in_a_file(
    sweeper: str, keys: str, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "conf/sweeps").mkdir(parents=True)
    text = f"# @package _global_\nhydra: {{{keys}}}\n"
    (tmp_path / "conf/sweeps/evil.yaml").write_text(text)
    words = ["--config-dir", "conf", "sweeps=evil", f"hydra/sweeper={sweeper}"]
    code, _, err = command("train", *SMALL, *words, "head.dropout=0.1,0.2")
    assert (code, "error: " in err, "Traceback" in err) == (2, True, False), err
    assert not (tmp_path / "pwned").exists()
