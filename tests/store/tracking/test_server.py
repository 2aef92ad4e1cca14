"""``headsweep ui`` as a process, and where it cannot start."""

import json
import os
import socket
from pathlib import Path

import pytest
from filelock import FileLock

from headsweep.errors import UserError
from headsweep.store.tracking import server
from headsweep.store.tracking.database import TrackingError
from headsweep.store.tracking.mlflow_client import init
from headsweep.store.tracking.sync import sync_job
from helpers.run_folders import make_job
from helpers.serving import ask, free_port
from helpers.serving import ui as serving

pytestmark = pytest.mark.slow


def test_the_pages_show_the_runs_and_end_with_ctrl_c(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    sync_job(root, make_job(root / "sweeps" / "s" / "jobs" / "0", finished=[0], seeds=1))
    with serving("runs", tmp_path) as (port, line):
        address, _, advice = line.removeprefix("MLflow on ").partition(" ")
        assert advice == "(Ctrl-C ends it)\n"
        assert address.startswith(f"http://127.0.0.1:{port}/#/experiments/1/runs?")
        search, body = "/api/2.0/mlflow/runs/search", {"experiment_ids": ["1"]}
        assert ask(port, search, host="evil.example", body=body)[0] == 403
        status, text = ask(port, search, body=body)
        assert status == 200
        runs = json.loads(text)["runs"]
        assert {run["info"]["run_name"] for run in runs} == {
            "s",
            "conservative",
            "conservative seed 0",
        }
        (member,) = [r for r in runs if r["info"]["run_name"].endswith("seed 0")]
        query = f"/get-artifact?path=config.yaml&run_id={member['info']['run_id']}"
        assert "regression_hidden_dim: 144" in ask(port, query)[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Servers that would have been started."""
    commands: list[list[str]] = []
    monkeypatch.setattr(os, "execve", lambda _, command, environment: commands.append(command))
    return commands


def test_runs_that_cannot_be_written_now_are_shown_without_the_view(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    started: list[list[str]],
) -> None:
    init(tmp_path)
    monkeypatch.setattr(server, "WAIT_SECONDS", 0.1)
    port = free_port()
    with FileLock(tmp_path / ".mlflow.lock"):
        server.serve(tmp_path, port)
    assert capsys.readouterr().out == f"MLflow on http://127.0.0.1:{port}/ (Ctrl-C ends it)\n"
    assert len(started) == 1


def test_no_server_is_started_where_there_can_be_no_database(
    tmp_path: Path, started: list[list[str]]
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackingError):
        server.serve(tmp_path / "file", free_port())
    assert not started


def test_a_taken_port_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} cannot be used"):
            server.serve(tmp_path, port)
