import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from headsweep import tracking
from headsweep.errors import UserError
from headsweep.ui import serve
from run_folders import make_job


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def ask(port, path, host="127.0.0.1", body=None):
    """Answer of the server as (status, text); (0, "") while it does not listen."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Host": f"{host}:{port}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""
    except urllib.error.URLError:
        return 0, ""


def test_the_pages_show_the_runs_and_end_with_ctrl_c(tmp_path):
    root = tmp_path / "runs"
    tracking.sync_job(root, make_job(root / "sweeps" / "s" / "jobs" / "0", finished=[0], seeds=1))
    port = free_port()
    code = f"import pathlib, headsweep.ui as ui; ui.serve(pathlib.Path('runs'), {port})"
    server = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + 120
        while ask(port, "/health")[0] != 200:
            assert server.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)
        assert server.stdout.readline() == f"MLflow on http://127.0.0.1:{port} (Ctrl-C ends it)\n"
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
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=30)
    with pytest.raises(ProcessLookupError):
        os.killpg(server.pid, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]


def test_a_taken_port_is_an_error(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} cannot be used"):
            serve(tmp_path, port)
