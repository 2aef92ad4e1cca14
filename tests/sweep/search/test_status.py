"""``headsweep study``: the state of a search, read without changing it."""

from pathlib import Path
from typing import Any

import pytest

from headsweep.errors import UserError
from headsweep.files import write_sealed
from headsweep.store.outcome import Outcome, best_trials
from headsweep.store.trials import OutcomeReader
from headsweep.sweep.leases import Leases
from headsweep.sweep.search.status import print_study
from helpers.killable import World, world
from helpers.searches import end, open_queue, take, work


def write_spec(here: World, **more: Any) -> Path:
    spec = {"search": {}, "n_trials": 4, "objective": ["val_qoverpt_r68"], **more}
    spec.setdefault("direction", ["minimize"])
    write_sealed(here.folder / "spec.yaml", spec)
    (here.folder / "command.txt").write_text("headsweep train sweeps=s\n")
    return here.folder.parents[1]


def test_a_search_can_be_looked_at_without_touching_it(capsys: pytest.CaptureFixture[str]) -> None:
    with world() as here:
        root = write_spec(here)
        queue = open_queue(here)
        work(queue, 2)
        work(queue, 1, "failed")
        files = {p: p.stat().st_mtime_ns for p in here.folder.rglob("*")}
        print_study(root, "s")
        assert {p: p.stat().st_mtime_ns for p in here.folder.rglob("*")} == files
        out = capsys.readouterr().out
        first, second = best_trials(OutcomeReader(here.folder).read(), ["minimize"])
        assert out.startswith("s: 3 of 4 trials are done, 0 are being trained\nusable: 2 of 3, 1 ")
        assert "best:" in out
        lines = [line.split() for line in out.splitlines()]
        rows = [int(words[0]) for words in lines if words and words[0].isdecimal()]
        assert rows == [first, second]
        assert "trial 2 failed: broken data" in out
        assert "go on with: headsweep train sweeps=s" in out
        task = take(queue)
        print_study(root, "s")
        out = capsys.readouterr().out
        assert "1 are being trained" in out
        assert "go on with" not in out
        assert queue.hand_in(task, end(task))
        print_study(root, "s")
        assert "left:" not in capsys.readouterr().out


def test_a_front_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    with world() as here:
        names = ["val_qoverpt_r68", "params_total"]
        root = write_spec(here, objective=names, direction=["minimize", "minimize"])
        for number, values in enumerate([(1.0, 5.0), (2.0, 6.0), (0.5, 9.0)]):
            Outcome("complete", values=list(values)).write(here.folder / f"jobs/{number}")
        print_study(root, "s")
        out = capsys.readouterr().out
        assert "Pareto front:" in out
        rows = [line.split()[:3] for line in out.splitlines() if line.strip()[:1].isdecimal()]
        assert rows == [["2", "0.5", "9"], ["0", "1", "5"]]


def test_what_no_sampler_chose_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with world() as here:
        root = write_spec(here)
        for number, origin in enumerate(["head=simpler", ""]):
            outcome = Outcome("complete", values=[1.0 + number], params={"x": 3}, origin=origin)
            outcome.write(here.folder / f"jobs/{number}")
        print_study(root, "s")
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert ["trial", "val_qoverpt_r68", "seeds", "chosen", "from"] in lines
        assert ["0", "1", "0", "x=3", "head=simpler"] in lines
        assert ["1", "2", "0", "x=3"] in lines


@pytest.mark.parametrize(
    ("spec", "message"), [({}, "does not exist"), ({"seeds": 1}, "is a grid; see headsweep report")]
)
def test_what_is_no_search_is_an_error(spec: dict[str, int], message: str, tmp_path: Path) -> None:
    if spec:
        (tmp_path / "sweeps/s").mkdir(parents=True)
        write_sealed(tmp_path / "sweeps/s/spec.yaml", spec)
    with pytest.raises(UserError, match=message):
        print_study(tmp_path, "s")


def test_a_lease_of_a_dead_worker_is_not_being_trained(capsys: pytest.CaptureFixture[str]) -> None:
    with world() as here:
        root = write_spec(here)
        hand = here.leases()
        Leases(here.folder, hand.leases.worker).claim(0)
        hand.die()
        print_study(root, "s")
        assert "0 are being trained" in capsys.readouterr().out


def test_what_is_missing_or_was_repeated_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with world() as here:
        root = write_spec(here, n_trials=5)
        for number, seed in ((0, 0), (2, 0), (3, 1)):
            outcome = Outcome(
                "complete",
                values=[1.0 + seed],
                seeds={seed: [1.0 + seed]},
                point="ab"[number == 2],
            )
            outcome.write(here.folder / f"jobs/{number}")
        (here.folder / "jobs/4/seed_0").mkdir(parents=True)
        print_study(root, "s")
        out = capsys.readouterr().out
        assert f"trial 1 is missing: {here.folder}/jobs/1 is gone; its command brings it" in out
        assert f"trial 4 is missing: {here.folder}/jobs/4 has no outcome; its command" in out
        assert "1 of the trials had a configuration again, and trained new seeds of it" in out
        rows = [line.split() for line in out.splitlines() if line.strip()[:1].isdecimal()]
        assert rows[0][:3] == ["2", "1", "1"]
        assert rows[1][:5] == ["0,", "3", "1.5", "+-", "0.7071"]
