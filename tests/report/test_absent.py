"""Jobs of a sweep without a run folder, and those that are equal to others."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headsweep.report.absent import absent_jobs, coinciding, failed_folds, same_labels
from headsweep.report.build import build_report
from headsweep.report.predictions import Sample
from headsweep.report.render.tables import NOTHING, problems, tails_table
from headsweep.report.render.verdict_tables import answer
from headsweep.stats.tracks import Tracks
from headsweep.store.labels import Block, StoredJob, group_rows, read_jobs
from headsweep.store.outcome import Outcome
from headsweep.store.specification import claim_sweep
from helpers.head_rows import make_head_row
from helpers.toy_runs import toy_score, write_cache, write_toy_job

SPEC = {
    "jobs": {
        f"{2 * fold + arm} arm=a{arm} fold={fold}": {"arm": f"a{arm}", "data.split.fold": fold}
        for fold in range(3)
        for arm in range(2)
    },
    "same": {"arm=a2 fold=0": 0, "arm=a3 fold=2": 5},
}
LOST = {"4 arm=a0 fold=2": "no memory", "5 arm=a1 fold=2": ""}


@pytest.fixture
def jobs(tmp_path: Path) -> list[StoredJob]:
    """Two arms of three folds; of the last fold one arm failed, and one is not trained yet."""
    for name, own in list(SPEC["jobs"].items())[:4]:
        write_toy_job(
            tmp_path / "jobs" / name.partition(" ")[0],
            {0: 0.1},
            labels={"arm": own["arm"]},  # type: ignore[dict-item]
            overrides=[f"arm={own['arm']}"],
            split={"folds": 3, "fold": own["data.split.fold"]},
        )
    Outcome("failed", "no memory").write(tmp_path / "jobs" / "4")
    return read_jobs(tmp_path)


def test_a_job_without_a_folder_has_failed_or_is_not_trained_yet(
    tmp_path: Path, jobs: list[StoredJob]
) -> None:
    assert absent_jobs(tmp_path, SPEC, jobs) == LOST
    assert absent_jobs(tmp_path, {}, jobs) == {}  # a single run has no specification


def test_a_configuration_that_lost_a_fold_is_objected_to(jobs: list[StoredJob]) -> None:
    found = failed_folds(SPEC, group_rows(jobs), LOST)
    assert found == {"a0": "its job 4 arm=a0 fold=2 failed: no memory"}


def test_equal_jobs_are_said_by_the_label_of_the_other(jobs: list[StoredJob]) -> None:
    assert same_labels(SPEC, group_rows(jobs)) == {"arm=a2 fold=0": "a0"}  # 5 is not there


@pytest.mark.slow
def test_arms_that_agree_to_the_last_bit_count_once(tmp_path: Path) -> None:
    """Four arms are two samples, and there is one comparison; so says a plan, too."""
    write_cache(tmp_path, "cache")
    sweep = tmp_path / "sweeps/s"
    widths = {seed: 0.1 + 0.001 * seed for seed in range(3)}
    arms = [widths, {seed: 1.2 * width for seed, width in widths.items()}, widths, {0: 0.1}]
    for number, own in enumerate(arms):
        write_toy_job(sweep / f"jobs/{number}", own, labels={"arm": f"a{number}"}, seeds=3)
    jobs = {f"{number} a{number}": {"arm": f"a{number}"} for number in range(4)}
    claim_sweep(sweep, {"seeds": 3, "design": {"comparisons": None}, "jobs": jobs})
    built = build_report(sweep, tmp_path, toy_score)
    assert built.same == {"a2": "a0", "a3": "a0"}
    assert [head.label for head in built.heads] == ["a0", "a1"]
    (effect,) = built.effects
    assert effect.verdict is not None
    assert (effect.arm, effect.control, effect.verdict.comparisons) == ("a1", "a0", 1)
    assert "a2 is equal to a0 and counts once." in answer(built)


def test_one_other_bit_of_a_prediction_or_figure_is_another_configuration() -> None:
    tracks = Tracks(*np.ones((10, 4)), np.zeros(4, dtype=bool))
    sample = Sample(tracks, np.ones(4, dtype=bool), {"gap": 1.0}, Block(0, 0), seed=5)
    first, same = (make_head_row(label, [sample]) for label in ("first", "same"))
    turned = replace(tracks, kappa=np.nextafter(tracks.kappa, np.inf))
    others = [
        make_head_row(f"other {n}", [replace(sample, **change)])  # type: ignore[arg-type]
        for n, change in enumerate(
            ({"tracks": turned}, {"scalars": {"gap": 1.0 + 2**-52}}, {"seed": 6})
        )
    ]
    assert coinciding([first, *others, same]) == {"same": "first"}


def test_a_failed_configuration_shows_the_size_of_its_head(tmp_path: Path) -> None:
    """D = 1 and one hit feature: projections of 2 each, 9 pooled values, layers 9-4-4-4, norms."""
    write_cache(tmp_path, "cache")
    sweep = tmp_path / "sweeps/s"
    for number, width in enumerate((0.1, None)):
        write_toy_job(sweep / f"jobs/{number}", {0: width}, overrides=[f"optim.lr={number + 1}"])
    built = build_report(sweep, tmp_path, toy_score)
    size = 2 * 2 + (9 * 4 + 4) + 2 * 4 + (4 * 4 + 4) + 2 * 4 + (4 * 4 + 4)
    assert [(head.finished, head.parameters) for head in built.heads] == [(1, size), (0, size)]
    assert any("loss is NaN at step 700" in line for line in problems(built))


def test_a_head_that_cannot_be_built_has_no_size(tmp_path: Path) -> None:
    write_cache(tmp_path, "cache")
    sweep = tmp_path / "sweeps/s"
    write_toy_job(sweep / "jobs/0", {0: 0.1}, overrides=["optim.lr=1"])
    broken = {"head": {"_target_": "nowhere.Head"}}
    write_toy_job(sweep / "jobs/1", {0: None}, overrides=["optim.lr=2"], config=broken)
    built = build_report(sweep, tmp_path, toy_score)
    assert [head.parameters > 0 for head in built.heads] == [True, False]
    assert [row[-1] for row in tails_table(built).rows][1] == NOTHING
