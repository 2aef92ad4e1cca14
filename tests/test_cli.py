"""The command line: what it prints, refuses, skips and survives."""

import errno
import os
import pty
import pwd
import select
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from headsweep import cli
from headsweep.config import PoolingConfig, config_root
from headsweep.errors import UserError
from headsweep.instantiate import allow
from headsweep.training.builder import member_builder

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent
SMALL = [
    *("data=tiny", "data.source.events=60", "backbone=truth", "tracking=false", "rates=tuned"),
    *("optim.steps=4", "optim.batch_size=16", "workers=1"),
]

Command = Callable[..., tuple[int, str, str]]


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
        (["train", "sweeps=preset"], "did you mean presets?"),
        (["train", "head=simplest", "--cfg", "job"], "did you mean simpler?"),
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
    (tmp_path / "runs/sweeps/my_grid").mkdir(parents=True)
    (tmp_path / "my_notes").write_text("")
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
            ("headsweep train --dry-run sweeps=leave\t", "sweeps=leave_one_out"),
            ("headsweep tr\t", "headsweep train"),
            ("headsweep report my\t", "headsweep report my_grid"),  # no file my_notes
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


def test_signs_that_an_output_cannot_have_are_spelled(tmp_path: Path) -> None:
    script = "from headsweep.cli import _open_streams as o; o(); print('1 ± 2 –, ≥ 3 ↓', chr(8734))"
    run = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=True,
    )
    assert run.stdout == b"1 +- 2 -, >= 3 v ?\n"


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Without a home, with an empty place for temporary files."""
    for name in ("HOME", *cli.CACHES):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", lambda _: {}[0])  # as of a user whom nobody knows
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return monkeypatch


def test_caches_find_a_place_without_a_home(homeless: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cli._find_home()
    place = tmp_path / f"headsweep-{os.getuid()}"
    assert os.environ["HOME"] == str(place)
    assert os.environ["NUMBA_CACHE_DIR"] == str(place / "numba")
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    (tmp_path / "home").mkdir()
    homeless.setenv("HOME", str(tmp_path / "home"))
    homeless.delenv("NUMBA_CACHE_DIR")
    cli._find_home()
    assert "NUMBA_CACHE_DIR" not in os.environ
    homeless.setenv("HOME", str(tmp_path / "nowhere"))
    cli._find_home()
    assert os.environ["HOME"] == str(tmp_path / "nowhere")  # what is read there is the user's
    assert os.environ["NUMBA_CACHE_DIR"] == str(place / "numba")


@pytest.mark.parametrize("kind", ["open", "link"])
def test_a_folder_that_another_may_fill_is_no_place_for_code(
    kind: str, homeless: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = tmp_path / f"headsweep-{os.getuid()}"
    if kind == "open":
        place.mkdir()
        place.chmod(0o777)
    else:
        (tmp_path / "other").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "other")
    cli._find_home()
    home = Path(os.environ["HOME"])
    assert home.parent == tmp_path
    assert home.name not in (place.name, "other")
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def _fault(*_: object, **__: object) -> None:
    raise AssertionError("never to be seen")


def _full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "full")


def test_a_fault_of_ours_is_one_line_and_its_traceback_is_kept(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("headsweep.store.cleanup.summarise_root", _fault)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code, out, err = command("list")
    (kept,) = tmp_path.glob("headsweep-*.txt")
    assert (code, out) == (3, "")
    assert err == (
        "error: this is a fault of headsweep: AssertionError: never to be seen, "
        f"the traceback is in {kept}; please report it\n"
    )
    assert kept.read_text().startswith("headsweep list\nTraceback")
    assert "in _fault" in kept.read_text()


def test_where_no_file_can_be_written_the_traceback_is_shown(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headsweep.store.cleanup.summarise_root", _fault)
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", _full_disk)
    code, _, err = command("list")
    assert code == 3
    assert "in _fault" in err
    assert err.splitlines()[-1].endswith("the traceback is above; please report it")


@pytest.mark.parametrize("asked", ["--debug", "HEADSWEEP_TRACEBACK"])
def test_the_traceback_is_shown_where_it_is_asked_for(
    asked: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSWEEP_TRACEBACK", "" if asked == "--debug" else "1")
    code, _, err = command("list", *(["--debug"] if asked == "--debug" else []))
    assert code == 2
    assert err.startswith("Traceback")
    assert err.splitlines()[-1].startswith("error: --root runs: no such folder")


def test_a_head_of_the_wrong_shape_is_refused() -> None:
    allow("torch.nn")
    config = {"head": {"_target_": "torch.nn.Conv2d"}, "pooling": asdict(PoolingConfig())}
    with pytest.raises(UserError, match="does not work"):
        member_builder(config, 23, 32, 4)()
    config["head"] = {"_target_": "torch.nn.Identity"}
    with pytest.raises(UserError, match=r"gives \[2, 288\] for \[2, 288\], not \[2, 4\]"):
        member_builder(config, 23, 32, 4)()
