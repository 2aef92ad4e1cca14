"""One contract for every place where workers run: what happens to them there changes nothing."""

import re
from pathlib import Path

import pytest

from helpers.command import run_here
from helpers.end_state import differences, tracked, tracked_differences
from helpers.launchers import (
    SEARCH,
    Backend,
    kill_attendant,
    kill_worker,
    started,
    terminate_attendant,
    terminate_worker,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of the search in this process, which nobody disturbs."""
    root = tmp_path_factory.mktemp("reference") / "runs"
    run_here(root.parent, "train", *SEARCH, f"root={root}")
    return root


LOCAL = Backend((), (kill_worker, terminate_worker))
SUBMITIT_LOCAL = Backend(
    ("hydra/launcher=submitit_local", "hydra.launcher.timeout_min=10"),
    (kill_worker, terminate_attendant, kill_attendant),
)


@pytest.fixture(params=["local", "submitit_local"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """A place where workers run."""
    return {"local": LOCAL, "submitit_local": SUBMITIT_LOCAL}[request.param]


def test_workers_anywhere_end_as_local_ones(
    backend: Backend, reference: Path, tmp_path: Path
) -> None:
    root = tmp_path / "runs"
    with started(root, backend.arguments) as running:
        for disturb in backend.disturbances:
            disturb(running)
        running.process.wait(timeout=300)
    printed = root.with_suffix(".log").read_text()
    assert running.process.returncode == 0, printed
    assert "8 of 8 trials are done, 0 were there before" in printed
    assert re.search(r"^\d of 8 trials", printed, re.M), printed  # progress
    assert differences(reference / "sweeps/search", root / "sweeps/search") == []
    ours, theirs = (tracked(r / "mlflow.db", r / "mlartifacts") for r in (reference, root))
    assert tracked_differences(ours, theirs) == []
    assert {path: path.stat().st_mtime_ns for path in running.kept} == running.kept
    assert not (root / "orders").exists()
