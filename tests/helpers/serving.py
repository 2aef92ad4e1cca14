"""A real ``headsweep ui``, and a real MLflow server, for tests."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

import pytest

from headsweep.store.tracking.server import SETTINGS
from helpers.waiting import wait_for

BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def ask(
    port: int, path: str, host: str = "127.0.0.1", body: object | None = None
) -> tuple[int, str]:
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


@contextmanager
def ui(root: str, folder: Path) -> Iterator[tuple[int, str]]:
    """Port and first line of ``headsweep ui``, run in a folder; Ctrl-C ends all of it."""
    port = free_port()
    server = subprocess.Popen(
        [BIN / "headsweep", "ui", "--root", root, "--port", str(port)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(lambda: ask(port, "/health")[0] == 200, server)
        assert server.stdout
        yield port, server.stdout.readline()
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=30)

    with pytest.raises(ProcessLookupError):
        os.killpg(server.pid, 0)


@contextmanager
def mlflow_server(
    folder: Path, port: int, database: str | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A tracking server with its artifact proxy, in a process group of its own.

    Args:
        folder: Of its database and its artifacts; it goes on with what is there.
        port: Where to listen, on 127.0.0.1.
        database: URL of another database.
    """
    folder.mkdir(exist_ok=True)
    options = {
        "--backend-store-uri": database or f"sqlite:///{folder}/server.db",
        "--artifacts-destination": str(folder / "artifacts"),
        "--host": "127.0.0.1",
        "--port": str(port),
        "--workers": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *chain.from_iterable(options.items())],
        cwd=folder,
        env=os.environ | SETTINGS,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: ask(port, "/health")[0] == 200, process)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)
