"""The command ``headsweep ui``: MLflow's own server over the runs below a root."""

import os
import socket
import sys
from itertools import chain
from pathlib import Path
from typing import NoReturn

from headsweep.errors import UserError
from headsweep.store.paths import DATABASE
from headsweep.store.tracking.database import TrackingError, artifacts, tracking_uri
from headsweep.store.tracking.mlflow_client import (
    MLFLOW_SETTINGS,
    view_address,
)

SETTINGS = {**MLFLOW_SETTINGS, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""Environment of the server; its job runner would start seven more processes and outlive it."""

WAIT_SECONDS = 10.0
"""Seconds to wait for others that write the same runs."""


def serve(root: Path, port: int) -> NoReturn:
    """Show all runs below a root in the browser at 127.0.0.1, until Ctrl-C.

    This process becomes the server, so that every signal reaches it.

    Args:
        root: The folder of all output.
        port: Where to listen.

    Raises:
        UserError: The port is taken.
        TrackingError: The database cannot be made.
    """
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise UserError(f"port {port} cannot be used ({error}); choose another") from error
    try:
        start = view_address(root, WAIT_SECONDS)
    except TrackingError:
        if not (root / DATABASE).exists():
            raise
        start = ""  # it may only be read, or is written just now: MLflow chooses the columns
    options = {
        "--backend-store-uri": tracking_uri(root),
        "--default-artifact-root": artifacts(root),
        "--host": "127.0.0.1",
        "--port": str(port),
        "--workers": "1",
    }
    print(f"MLflow on http://127.0.0.1:{port}/{start} (Ctrl-C ends it)", flush=True)
    command = [sys.executable, "-m", "mlflow", "ui", *chain.from_iterable(options.items())]
    os.execve(sys.executable, command, os.environ | SETTINGS)
