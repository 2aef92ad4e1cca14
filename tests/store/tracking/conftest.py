"""A root with a name that needs quoting, and an MLflow server."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from headsweep.store.tracking.mlflow_client import init
from headsweep.store.tracking.server import SETTINGS
from helpers.serving import ask, free_port


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty root with its database."""
    folder = tmp_path_factory.mktemp("all") / "müon's runs, 100% #1"
    init(folder)
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URI of a tracking server with its artifact proxy, in a process of its own."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    options = {
        "--backend-store-uri": f"sqlite:///{folder}/server.db",
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
        end = time.monotonic() + 120
        while ask(port, "/health")[0] != 200:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
