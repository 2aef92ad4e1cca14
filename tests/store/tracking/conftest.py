"""A root with a name that needs quoting, and an MLflow server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from headsweep.store.tracking.mlflow_client import init
from helpers.serving import free_port, mlflow_server


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty root with its database."""
    folder = tmp_path_factory.mktemp("all") / "müon's runs, 100% #1"
    init(folder)
    return folder


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URI of a tracking server with its artifact proxy, in a process of its own."""
    port = free_port()
    with mlflow_server(tmp_path_factory.mktemp("server"), port):
        yield f"http://127.0.0.1:{port}"
