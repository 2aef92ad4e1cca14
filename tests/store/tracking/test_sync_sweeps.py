"""Whole sweeps in MLflow: searches, grids that grow, several writers, servers."""

import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from conftest import Command
from headsweep.store.outcome import Outcome
from headsweep.store.tracking.changes import SweepSnapshot
from headsweep.store.tracking.database import TrackingError, tracking_uri
from headsweep.store.tracking.sync import sync_all, sync_sweep
from helpers.mlflow_runs import artifacts, dump, rows, runs
from helpers.run_folders import PROCESSES, make_job, make_search, make_trial
from helpers.serving import free_port, mlflow_server
from helpers.waiting import wait_for

R68 = "val_qoverpt_r68"
STATES = "SELECT name, status, lifecycle_stage FROM runs"
TRIALS = [f"jobs/{number}" for number in range(20)]

pytestmark = pytest.mark.slow


def test_a_search_has_one_run_for_each_trial(root: Path) -> None:
    sweep = make_search(root / "sweeps" / "search")
    make_trial(sweep, 0, "complete", 0.2)
    make_trial(sweep, 1, "pruned", 0.5, reason="pruned at step 50")
    make_trial(sweep, 2, "complete", 0.1)
    make_trial(sweep, 3, "failed", reason="seed 1: loss is NaN")
    Outcome("failed", "killed", params={"head.dropout": 0.1}).write(sweep / "jobs" / "4")
    sync_sweep(root, sweep)
    found = runs(root, sweep)
    assert sorted(found) == ["", *TRIALS[:5]]
    top = found.pop("")
    assert {r.data.tags["mlflow.parentRunId"] for r in found.values()} == {top.info.run_id}
    statuses = ["FINISHED", "FINISHED", "FINISHED", "FAILED", "FAILED"]
    assert [found[trial].info.status for trial in TRIALS[:5]] == statuses
    states = [found[trial].data.tags["trial_state"] for trial in TRIALS[:5]]
    assert states == ["complete", "pruned", "complete", "failed", "failed"]
    assert [found[trial].data.tags.get("reason") for trial in TRIALS[2:5]] == [
        None,
        "seed 1: loss is NaN",
        "killed",
    ]
    metrics = found["jobs/2"].data.metrics
    assert (metrics[R68], metrics[f"seed_1/{R68}"], metrics["n"]) == (0.1, 0.11, 3)
    assert metrics[f"history/{R68}"] == 0.5
    assert artifacts(found["jobs/2"]) == ["config.yaml", "outcome.json"]
    assert found["jobs/4"].data.params == {"dropout": "0.1"}
    tags = top.data.tags
    assert (tags["best_trial"], tags["best_mean"], tags["best_n"]) == ("2", "0.1", "3")
    assert (tags["trials_complete"], tags["trials_pruned"], tags["trials_failed"]) == (*"212",)
    assert not top.data.params
    best = {f"{R68}_mean": 0.1, f"{R68}_std": 0.01}  # of the best trial, over its three seeds
    assert top.data.metrics == pytest.approx(best)


def test_syncing_again_changes_nothing_and_more_trials_only_add(root: Path) -> None:
    sweep = make_search(root / "sweeps" / "going on")
    make_trial(sweep, 0, "complete", 0.2)
    make_trial(sweep, 1, "failed", reason="x" * 9000)
    sync_sweep(root, sweep)
    before, known = dump(root), runs(root, sweep)
    sync_sweep(root, sweep)
    assert dump(root) == before
    make_trial(sweep, 2, "complete", 0.1)
    sync_sweep(root, sweep)
    found = runs(root, sweep)
    assert {path: run.info.run_id for path, run in known.items()} == {
        path: run.info.run_id for path, run in found.items() if path != "jobs/2"
    }
    assert (found[""].data.tags["best_trial"], known[""].data.tags["best_trial"]) == ("2", "0")
    make_trial(sweep, 1, "complete", 0.05)
    shutil.rmtree(sweep / "jobs" / "0")
    sync_sweep(root, sweep)
    assert sorted(runs(root, sweep)) == ["", "jobs/1", "jobs/2"]
    assert runs(root, sweep)[""].data.tags["best_trial"] == "1"


def test_a_grid_keeps_its_seeds_and_may_get_more(root: Path) -> None:
    sweep = root / "sweeps" / "grid"
    job = make_job(sweep / "jobs" / "0", finished=[0, 1])
    Outcome("failed", "out of memory").write(sweep / "jobs" / "1")
    seen = SweepSnapshot()
    sync_sweep(root, sweep, None, seen)
    assert sorted(runs(root, sweep)) == ["", "jobs/0", "jobs/0/seed_0", "jobs/0/seed_1", "jobs/1"]
    assert runs(root, sweep)["jobs/1"].data.tags["reason"] == "out of memory"
    make_job(job, finished=[2], seeds=3)
    (sweep / "jobs" / "1" / "outcome.json").unlink()
    sync_sweep(root, sweep, None, seen)
    found = runs(root, sweep)
    assert sorted(found) == ["", *(f"jobs/0{s}" for s in ("", "/seed_0", "/seed_1", "/seed_2"))]
    assert found[""].data.tags["members_finished"] == "3"
    assert found["jobs/0"].info.status == "FINISHED"


def test_with_what_was_seen_only_new_trials_are_written(root: Path) -> None:
    sweep, seen = make_search(root / "sweeps" / "seen"), SweepSnapshot()
    sync_sweep(root, sweep, None, seen)
    for number in range(12):
        make_trial(sweep, number, "complete", 0.2 - 0.01 * number)
        sync_sweep(root, sweep, None, seen)
        assert sorted(runs(root, sweep)) == sorted(["", *TRIALS[: number + 1]])
    assert runs(root, sweep)[""].data.tags["best_trial"] == "11"
    before = dump(root)
    sync_sweep(root, sweep, None, seen)
    sync_sweep(root, sweep)
    assert dump(root) == before


def test_a_sync_killed_anywhere_is_completed_by_the_next(root: Path) -> None:
    sweep = make_search(root / "sweeps" / "killed")
    for number in range(8):
        make_trial(sweep, number, "complete", 0.2)
    begun = len(rows(root, STATES))
    for new in (1, 2, 5):
        process = PROCESSES.Process(target=sync_sweep, args=(root, sweep))
        process.start()
        while len(rows(root, STATES)) < begun + new:
            assert process.is_alive()
        process.kill()
        process.join()
        begun = len(rows(root, STATES))
    sync_sweep(root, sweep)
    found = runs(root, sweep)
    assert sorted(found) == ["", *TRIALS[:8]]
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert {len(run.data.metrics) for path, run in found.items() if path} == {8}
    assert "RUNNING" not in {state[1] for state in rows(root, STATES)}


def test_what_was_left_running_is_removed(root: Path) -> None:
    from mlflow import MlflowClient

    sweep = make_search(root / "sweeps" / "left")
    make_trial(sweep, 0, "complete", 0.2)
    sync_sweep(root, sweep)
    run = runs(root, sweep)["jobs/0"]
    client = MlflowClient(tracking_uri(root))
    client.create_run(run.info.experiment_id, tags=run.data.tags)
    sync_sweep(root, sweep)
    assert runs(root, sweep)["jobs/0"].info.run_id == run.info.run_id
    client.update_run(run.info.run_id, "RUNNING")
    client.update_run(run.data.tags["mlflow.parentRunId"], "RUNNING")
    sync_sweep(root, sweep)
    assert runs(root, sweep)["jobs/0"].info.status == "FINISHED"


def test_two_commands_may_sync_the_same_search(root: Path) -> None:
    sweep = make_search(root / "sweeps" / "shared")
    for number in range(4):
        make_trial(sweep, number, "complete", 0.2)
    with PROCESSES.Pool(4) as pool:
        pool.starmap(sync_sweep, [(root, sweep)] * 4, chunksize=1)
    assert sorted(runs(root, sweep)) == ["", *TRIALS[:4]]
    # Neither may know what the other has written since.
    one, other = SweepSnapshot(), SweepSnapshot()
    for number in range(4, 8):
        make_trial(sweep, number, "complete", 0.2)
        sync_sweep(root, sweep, None, one)
        sync_sweep(root, sweep, None, other)
    assert sorted(runs(root, sweep)) == ["", *TRIALS[:8]]


def test_a_server_gets_every_run_once_and_its_files(
    tmp_path: Path, server: str, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "root"
    sweep = make_search(root / "sweeps" / "s")
    make_trial(sweep, 0, "complete", 0.2)
    make_trial(sweep, 1, "failed", reason="x" * 9000)
    sync_sweep(root, sweep, server)
    first = runs(root, sweep, server)
    sync_sweep(root, sweep, server)
    again = runs(root, sweep, server)
    assert sorted(again) == ["", *TRIALS[:2]]
    assert {p: r.info for p, r in first.items()} == {p: r.info for p, r in again.items()}
    assert again["jobs/0"].info.artifact_uri.startswith("mlflow-artifacts:/")
    assert artifacts(again["jobs/0"], server) == ["config.yaml", "outcome.json"]
    assert not (root / "mlflow.db").exists()
    other = tmp_path / "other"
    shutil.copytree(sweep, other / "sweeps" / "s")  # the same name below another root
    sync_sweep(other, other / "sweeps" / "s", server)
    assert sorted(runs(other, other / "sweeps" / "s", server)) == ["", *TRIALS[:2]]
    assert {p: r.info for p, r in runs(root, sweep, server).items()} == {
        p: r.info for p, r in first.items()
    }
    single = make_job(root / "runs" / "abc", finished=[0], seeds=1)
    assert sync_all(root, None, server) == ["s", "abc"]
    assert sorted(runs(root, single, server)) == ["", "seed_0"]
    assert capfd.readouterr() == ("", "")  # MLflow would print an address for every run


def test_an_unreachable_server_is_an_error_soon_and_gets_all_later(
    tmp_path: Path, server: str
) -> None:
    root, uri = tmp_path / "root", f"http://127.0.0.1:{free_port()}"
    sweep = make_search(root / "sweeps" / "s")
    make_trial(sweep, 0, "complete", 0.2)
    start = time.monotonic()
    with pytest.raises(TrackingError) as caught:
        sync_sweep(root, sweep, uri)
    print(f"refused: {time.monotonic() - start:.2f} s")
    assert time.monotonic() - start < 30  # MLflow itself tries for minutes
    assert str(caught.value) == (
        f"{uri}: MLflow was not written ([Errno 111] Connection refused); the results are complete "
        f"in the run folders; `headsweep sync s --tracking-uri {uri} --root {root}` delivers them "
        "later"
    )
    make_trial(sweep, 1, "complete", 0.2)
    sync_all(root, "s", server)
    sync_all(root, "s", server)
    assert sorted(runs(root, sweep, server)) == ["", *TRIALS[:2]]


@contextmanager
def failing_server() -> Iterator[str]:
    """URI of a server that answers 500 to everything."""

    class Failing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_error(500)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Failing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_failing_server_is_one_line_soon(tmp_path: Path, command: Command) -> None:
    make_trial(make_search(tmp_path / "sweeps" / "s"), 0, "complete", 0.2)
    with failing_server() as uri:
        start = time.monotonic()
        code, _, err = command("sync", "--root", str(tmp_path), "--tracking-uri", uri)
        assert time.monotonic() - start < 30
    assert code == 2
    (line,) = err.splitlines()
    assert line == (
        f"error: {uri}: MLflow was not written (too many 500 error responses); the results are "
        f"complete in the run folders; `headsweep sync s --tracking-uri {uri} --root {tmp_path}` "
        "delivers them later"
    )


def test_a_server_killed_in_the_midst_gets_the_rest_later(tmp_path: Path, command: Command) -> None:
    root, folder, port = tmp_path / "root", tmp_path / "server", free_port()
    sweep = make_search(root / "sweeps" / "s")
    for number in range(6):
        make_trial(sweep, number, "complete", 0.2)
    make_job(root / "runs" / "abc", finished=[0], seeds=1)
    uri = f"http://127.0.0.1:{port}"
    verb = ("sync", "--root", str(root), "--tracking-uri", uri)
    with mlflow_server(folder, port) as server, killed_at_run(server, folder / "server.db", 4):
        code, _, err = command(*verb)
    assert code == 2
    (line,) = err.splitlines()
    assert re.search(
        r"not written after [123] jobs? .*`headsweep sync s .*` delivers the rest", line
    )
    with mlflow_server(folder, port):
        for _ in range(2):
            assert command(*verb) == (0, "in MLflow: s, abc\n", "")
        found = runs(root, sweep, uri)  # each path is there once
        assert sorted(found) == ["", *TRIALS[:6]]
        assert {len(run.data.metrics) for path, run in found.items() if path} == {8}
        assert artifacts(found["jobs/3"], uri) == ["config.yaml", "outcome.json"]


@contextmanager
def killed_at_run(server: subprocess.Popen[bytes], database: Path, count: int) -> Iterator[None]:
    """Kill a server once so many runs are in its database."""

    def kill() -> None:
        with closing(sqlite3.connect(database, timeout=60)) as connection:
            wait_for(lambda: connection.execute("SELECT count(*) FROM runs").fetchone()[0] >= count)
        os.killpg(server.pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    yield
    thread.join()


def test_a_silent_server_is_an_error_soon(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        sweep = make_search(tmp_path / "sweeps" / "s")
        make_trial(sweep, 0, "complete", 0.2)
        start = time.monotonic()
        with pytest.raises(TrackingError, match=r"timed out.*delivers them later"):
            sync_sweep(tmp_path, sweep, uri)
        print(f"silent: {time.monotonic() - start:.2f} s")
        assert time.monotonic() - start < 30  # MLflow itself waits for minutes


def test_the_verb_syncs_one_or_all(root: Path, command: Command, tmp_path: Path) -> None:
    sweep = make_search(root / "sweeps" / "verb")
    make_trial(sweep, 0, "complete", 0.2)
    (sweep / "report").mkdir()
    (sweep / "report" / "report.md").write_text("# Report")
    make_job(root / "runs" / "abcd", finished=[0], seeds=1)
    assert command("sync", "verb", "--root", str(root)) == (0, "in MLflow: verb\n", "")
    assert sorted(runs(root, sweep)) == ["", "jobs/0"]
    assert artifacts(runs(root, sweep)[""]) == ["report"]
    code, out, _ = command("sync", "--root", str(root))
    assert (code, out.startswith("in MLflow: "), "verb" in out, "abcd" in out) == (0, 1, 1, 1)
    assert sorted(runs(root, root / "runs" / "abcd")) == ["", "seed_0"]
    code, _, err = command("sync", "ghost", "--root", str(root))
    assert (code, "no finished job of 'ghost'" in err) == (2, True)
    code, _, err = command("sync", "--root", "elsewhere")
    assert (code, "--root elsewhere: no such folder" in err) == (2, True)
    (tmp_path / "empty").mkdir()
    assert command("sync", "--root", "empty") == (0, "in MLflow: nothing yet\n", "")
    code, _, err = command("sync", "--root", str(root), "--tracking-uri", "http://127.0.0.1:9")
    assert (code, "headsweep sync" in err) == (2, True)
