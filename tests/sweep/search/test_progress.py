"""Progress of a search, as read from its folders and its storage."""

import pytest
from optuna.trial import TrialState

from headsweep.store.paths import command
from headsweep.store.runs import write_progress
from headsweep.store.trials import OutcomeReader
from headsweep.sweep.search.progress import SearchProgress
from headsweep.sweep.search.queue import SearchQueue
from helpers.killable import Killed, world
from helpers.searches import SEARCH, end, open_queue, take, work
from helpers.toy_search import compose


def test_the_state_of_a_search(capsys: pytest.CaptureFixture[str]) -> None:
    with world() as here:
        work(open_queue(here), 2)
        queue = open_queue(here)
        state = SearchProgress(queue)
        assert state.left() == 2
        work(queue, 1, "failed")
        task = take(queue)
        write_progress(task.folder, {"step": 5, "steps": 10, "val": 0.5})
        looked = state.state()
        best = min(OutcomeReader(here.folder).read()[n].values[0] for n in (0, 1))
        assert looked.summary.startswith(f"3 of 4 trials, best {best:.4f} (trial ")
        assert looked.share == (3 + 0.5) / 4
        assert looked.running == ["trial 3: step 5 of 10, val r68 0.500"]
        assert state.words() == "3 of 4 trials are done, 2 were there before"
        assert state.left() == 1
        assert queue.hand_in(task, end(task))
        assert state.conclude() == 0
        assert state.left() == 0
        out, err = capsys.readouterr()
        assert "usable: 3 of 4, 1 failed" in out
        assert out.count("best: trial ") == 1
        assert out.endswith(f"more: {command('study', here.folder.parents[1], 's')}\n")
        assert err == "trial 2 failed: broken data\n"


def test_a_search_that_only_fails_says_why_it_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    with world() as here:
        work(open_queue(here), 2, "failed")
        state = SearchProgress(open_queue(here))  # of the command, which takes nothing itself
        assert state.conclude() == 1
        err = capsys.readouterr().err
        assert "stopped: trials 0 to 1 failed, 2 in a row." in err
        assert "max_failures=null" in err


def test_what_a_kill_left_untold_is_still_to_be_done() -> None:
    """Or the command would end at once, and the last trial stay RUNNING for ever."""
    with world() as here:
        work(open_queue(here), 3)
        hand = here.leases()
        queue = SearchQueue(here.folder, SEARCH, hand.leases, 2, compose)
        task = take(queue)
        found = end(task)
        before = sum(1 for _ in (here.folder / "jobs").iterdir())
        for fuse in range(20):  # the first write after the folder's move
            with pytest.raises(Killed), here.fuse.lit(fuse):
                queue.hand_in(task, found)
            if sum(1 for _ in (here.folder / "jobs").iterdir()) > before:
                break
        hand.die()
        again = open_queue(here)
        state = SearchProgress(again)
        assert len(OutcomeReader(here.folder).read()) == 4
        assert [t.state for t in again.trials()][3:] == [TrialState.RUNNING]
        assert state.left() == 1
        again.take()
        assert [t.state for t in again.trials()] == [TrialState.COMPLETE] * 4
        assert state.left() == 0
