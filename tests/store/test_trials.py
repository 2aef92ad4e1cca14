"""Finished trials of a search, read from folders that may change meanwhile, and words for them."""

from headsweep.store.outcome import Outcome
from headsweep.store.runs import write_member
from headsweep.store.trials import OutcomeReader, Trials, describe, failures, time_left, usable
from helpers.killable import world
from helpers.searches import open_queue, work


def test_trials_are_counted_by_their_end() -> None:
    states = ("complete", "pruned", "failed", "complete")
    outcomes = {number: Outcome(state, "why") for number, state in enumerate(states)}
    assert usable(outcomes) == "usable: 3 of 4 (1 pruned), 1 failed"
    assert usable({}) == "usable: 0 of 0"
    assert failures(outcomes) == ["trial 2 failed: why"]


def test_a_trial_as_words() -> None:
    found = Outcome(
        "complete", values=[0.123456789, 1000], spread=[0.01, 0.0], params={"a": 1e-5, "head": "x"}
    )
    words = "trial 3: val_qoverpt_r68 0.123457 +- 0.0100, params_total 1000 with a=1e-05, head=x"
    assert describe(3, found, ["val_qoverpt_r68", "params_total"]) == words


def test_trials_that_were_taken_are_named_with_their_numbers_there() -> None:
    there = [0, 2, 3, 4, 7]
    outcomes = {
        n: Outcome("complete", values=[1.0], origin=f"search-2/jobs/{number}")
        for n, number in enumerate(there)
    }
    outcomes[5] = Outcome("complete", values=[1.0], origin="head=simpler")
    found = Trials(outcomes, 9, ["val_loss"], ["minimize"])
    words = "trials 0 to 4 were taken from search-2, where they are 0, 2 to 4, 7"
    assert found.taken() == words
    assert f"T{words[1:]}. Trial 5 is head=simpler. Shown is" in found.note()
    assert Trials({5: outcomes[5]}, 9, ["val_loss"], ["minimize"]).taken() is None
    assert Trials({0: outcomes[0]}, 9, ["val_loss"], ["minimize"]).presets() is None


def test_outcomes_are_found_when_they_are_there() -> None:
    with world() as here:
        finished = OutcomeReader(here.folder)
        assert finished.read() == {}
        work(open_queue(here), 2)
        assert list(finished.read()) == [0, 1]
        (here.folder / "jobs/0/outcome.json").unlink()  # each is read once
        assert list(finished.read()) == [0, 1]
        (here.folder / "jobs/10").mkdir()
        assert list(OutcomeReader(here.folder).read()) == [1]


def test_time_that_is_left_follows_from_what_it_took() -> None:
    with world() as here:
        outcomes = {n: Outcome("complete", values=[1.0]) for n in (0, 1)}
        assert time_left(here.folder, outcomes, 5) == "unknown"
        for number, seconds in ((0, 50), (1, 70)):
            for seed, share in ((0, 1.0), (1, 0.5)):  # trained together: the longest counts
                folder = here.folder / f"jobs/{number}/seed_{seed}"
                write_member(folder, {"seconds": seconds * share})
        assert time_left(here.folder, outcomes, 12) == "10 min"
        assert time_left(here.folder, outcomes, 2) == "0 s"
