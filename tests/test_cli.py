"""The command line: what it prints, refuses, skips and survives."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import Command
from headsweep.config import config_root
from helpers.own_head import write_head

BIN = Path(sys.executable).parent
SMALL = [
    *("data=tiny", "data.source.events=60", "backbone=truth", "tracking=false"),
    *("optim.steps=4", "optim.batch_size=16", "workers=1"),
]


def snapshot(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("seed_*/*")}


def test_showing_the_configuration_imports_nothing_heavy(tmp_path: Path) -> None:
    script = """
import atexit, sys
from headsweep.cli import main
heavy = ("torch", "mlflow", "optuna", "pandas", "numba", "rich", "typer", "sklearn")
atexit.register(lambda: print("heavy:", [name for name in heavy if name in sys.modules]))
main()
"""
    run = subprocess.run(
        [sys.executable, "-c", script, "train", "sweeps=presets", "seeds=3", "--cfg", "job"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "regression_hidden_dim: 144" in run.stdout
    assert "seeds: 3" in run.stdout
    assert run.stdout.endswith("heavy: []\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "head.dropout=2"], "error: head.dropout=2.0: must be in [0, 1)"),
        (["train", "sweeps=preset"], "Could not find 'sweeps/preset'"),
        (["train", "head=simplest", "--cfg", "job"], "Could not find 'head/simplest'"),
        (["train", "-m", "head.dropout=0.1,1.5"], "head.dropout=1.5"),
        (["train", "device=abacus", *SMALL], "device=abacus"),
        (["train", "data=hepattn", "data.source.path=nowhere", "backbone=truth"], "nowhere"),
        (["train", "--config-name", "other"], "--config-dir"),
        (["data", "validate", "data=hepattn", "data.source.path=nowhere"], "nowhere"),
        (["report", "nothing"], "nothing"),
        (["report", "nothing", "--tracking-uri", "sqlite:///x"], "tracking_uri=sqlite:///x"),
        (["list"], "error: --root runs: no such folder"),
        (["list", "--json", "--root", "nowhere"], "error: --root nowhere: no such folder"),
        (["clean"], "error: --root runs: no such folder"),
        (["train", "name=one", *SMALL], "error: name=one: names a sweep"),
        (["trian"], "No such command 'trian'"),
    ],
)
def test_mistakes_end_with_one_message(
    arguments: list[str], message: str, command: Command, tmp_path: Path
) -> None:
    code, _, err = command(*arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not list(tmp_path.rglob("job.json"))


def test_a_grid_trains_only_what_is_missing(command: Command, tmp_path: Path) -> None:
    grid = ["train", "-m", "head=conservative,direct_projection", "name=grid", *SMALL]
    code, out, _ = command(*grid)
    assert code == 0
    assert "2 of 2 members are done, 0 of them were there before" in out
    assert "headsweep report grid" in out
    folder = tmp_path / "runs/sweeps/grid"
    first = snapshot(folder)
    about = [json.loads((folder / f"jobs/{n}/job.json").read_text()) for n in (0, 1)]
    assert [job["labels"]["head"] for job in about] == ["conservative", "direct_projection"]
    result = json.loads((folder / "jobs/1/seed_0/result.json").read_text())
    assert result["status"] == "finished"
    assert result["parameters"]["head"] == 1156
    assert result["metrics"]["val_qoverpt_r68"] > 0

    code, out, _ = command(*grid)
    assert code == 0
    assert "2 of 2 members are done, 2 of them were there before" in out
    assert snapshot(folder) == first

    code, out, _ = command(*grid, "seeds=3")
    assert "6 of 6 members are done, 2 of them were there before" in out
    assert {path: at for path, at in snapshot(folder).items() if path in first} == first

    code, _, err = command(*grid, "optim.clip=0.5")
    assert code == 2
    assert "config.optim.clip: 1.0 there, 0.5 here" in err
    assert "name=grid-2" in err


def test_one_run_is_kept_under_its_key(command: Command, tmp_path: Path) -> None:
    code, out, _ = command("train", *SMALL, "seeds=2")
    assert code == 0
    [folder] = (tmp_path / "runs/runs").iterdir()
    assert f"results: runs/runs/{folder.name}" in out
    assert json.loads((folder / "job.json").read_text())["job_key"] == folder.name
    before = snapshot(folder)
    assert command("train", *SMALL, "seeds=2", "workers=1")[0] == 0
    assert snapshot(folder) == before


def test_a_head_from_one_file_and_one_yaml(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    conf = write_head(tmp_path)
    grid = ["-m", "head=bottleneck", "head.width=4,8", "name=own", "seeds=2"]
    code, out, _ = command("train", "--config-dir", str(conf), *grid, *SMALL)
    assert code == 0
    assert "4 of 4 members are done" in out
    results = [
        json.loads((tmp_path / f"runs/sweeps/own/jobs/{n}/seed_1/result.json").read_text())
        for n in (0, 1)
    ]
    assert [r["parameters"]["head"] for r in results] == [w * 289 + (w + 1) * 4 for w in (4, 8)]


def test_a_member_that_fails_is_named(command: Command) -> None:
    code, out, err = command("train", *SMALL, "optim.lr=1e38", "optim.steps=30", "seeds=2")
    assert code == 1
    assert "loss is" in err
    assert "2 of 2 members are done" in out


def test_a_search_without_a_finished_trial_says_so(command: Command) -> None:
    search = ["sweeps=optuna", "hydra.sweeper.n_trials=2", "optim.lr=1e38"]
    code, out, err = command("train", *SMALL, *search, "optim.steps=30")
    assert code == 1
    assert "usable: 0 of 2, 2 failed" in out
    assert "loss is nan at step" in err
    assert "Traceback" not in err


def test_dry_run_writes_nothing(command: Command, tmp_path: Path) -> None:
    code, out, _ = command("train", "sweeps=smoke", "backbone=truth", "--dry-run")
    assert code == 0
    assert "head=direct_projection" in out
    assert "65,476" in out
    assert "expected: " in out
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_cleanly(tmp_path: Path) -> None:
    arguments = [*SMALL, "optim.steps=1000000", "head=conservative,simpler", "name=long"]
    process = subprocess.Popen(
        [BIN / "headsweep", "train", "-m", *arguments],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    attempts = tmp_path / "runs/sweeps/long/attempts"
    deadline = time.monotonic() + 180  # on a busy machine
    try:
        while not any(attempts.glob("*/progress.json")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "0 of 2 members are done, 0 of them were there before; go on with:" in err
    assert "headsweep train -m" in err
    assert "Traceback" not in err


def test_tab_completion_in_bash(tmp_path: Path) -> None:
    """In a real shell: keys behind the verb, and the verb itself."""
    terminal, shell_end = pty.openpty()
    path = f"{BIN}:{os.environ['PATH']}"
    shell = subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"],
        cwd=tmp_path,
        env=os.environ | {"PATH": path, "PS1": "prompt> ", "TERM": "dumb"},
        stdin=shell_end,
        stdout=shell_end,
        stderr=shell_end,
        start_new_session=True,
    )
    os.close(shell_end)
    try:
        setup = 'eval "$(headsweep -sc install=bash)"; echo re""ady\n'
        assert "ready" in type_until(terminal, setup, "ready\r\nprompt> ")
        for text, expected in (
            ("headsweep train head=con\t", "headsweep train head=conservative"),
            ("headsweep train --dry-run sweeps=pres\t", "sweeps=presets"),
            ("headsweep tr\t", "headsweep train"),
        ):
            assert expected in type_until(terminal, text, expected)
            type_until(terminal, "\x15\n", "prompt> ")  # clears the line
    finally:
        shell.kill()
        shell.wait()
        os.close(terminal)


def type_until(terminal: int, text: str, expected: str, seconds: float = 30) -> str:
    """Type into a terminal and read what it shows until that has the expected text."""
    os.write(terminal, text.encode())
    shown = ""
    deadline = time.monotonic() + seconds
    while expected not in shown and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            shown += os.read(terminal, 4096).decode()
    return shown


def test_the_makefile_knows_its_targets() -> None:
    run = subprocess.run(
        ["make", "help"], cwd=config_root(), capture_output=True, text=True, check=True
    )
    for target in ("help", "ablation", "test", "lint", "ui"):
        assert f"make {target}" in run.stdout


def test_an_unusable_root_is_named(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, err = command("train", *SMALL, f"root={tmp_path / 'file'}")
    assert code == 2
    assert err.splitlines()[-1].startswith(f"error: root={tmp_path / 'file'}: cannot be written")


def test_a_broken_file_of_the_users_own(command: Command, tmp_path: Path) -> None:
    (tmp_path / "conf" / "head").mkdir(parents=True)
    (tmp_path / "conf" / "head" / "broken.yaml").write_text("width: [")
    code, _, err = command("train", "--config-dir", str(tmp_path / "conf"), *SMALL, "head=broken")
    assert code == 2
    assert "broken.yaml" in err
    assert "Traceback" not in err
