"""Failed seeds in reports of every design: what is withheld, what stands, and what is said."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from io import StringIO

import numpy as np
import pytest

from headsweep.config import DesignConfig
from headsweep.report.build import build_report
from headsweep.report.comparisons import Effect, find_effects
from headsweep.report.content import HeadSummary, Report
from headsweep.report.failures import shortfall
from headsweep.report.predictions import HeadRow, Sample
from headsweep.report.render import page, tables, verdict_tables, write
from headsweep.report.render.markdown import markdown
from headsweep.stats.tracks import Tracks
from headsweep.store import specification
from headsweep.store.labels import Block
from headsweep.store.outcome import Outcome
from headsweep.terminal import plain_console
from helpers.head_rows import make_head_row
from helpers.toy_runs import normal_grid, toy_score, write_cache, write_toy_job

N = np.arange(400)
TRUTH = np.stack([N / 400, N / 400, 10.0 + N % 50, np.where(N % 2, 1.0, -1.0)], axis=1)
WHOLE = Block(0, 0)


def sample(width: float, seed: int, block: Block = WHOLE) -> Sample:
    """A member whose r68 is its width: the quantiles of a normal, the same in every arm."""
    kappa = TRUTH[:, 3] / TRUTH[:, 2] * (1 + width * normal_grid(len(N), 3))
    estimate = np.stack([TRUTH[:, 0], TRUTH[:, 1], 1 / np.abs(kappa), np.sign(kappa)], axis=1)
    everyone = np.ones(len(N), dtype=bool)
    scalars = {"gap": 1.3 + 0.01 * seed, "last_dev_loss": 0.2 + 0.001 * seed}
    return Sample(Tracks.from_estimate(N, TRUTH, estimate), everyone, scalars, block, seed)


def blind(seed: int, block: Block = WHOLE) -> Sample:
    """A failed member: the training mean of pT, always positive."""
    constant = np.broadcast_to([0.5, 0.5, 30.0, 1.0], TRUTH.shape)
    tracks = Tracks.from_estimate(N, TRUTH, constant)
    return Sample(tracks, np.ones(len(N), dtype=bool), {}, block, seed)


def row(label: str, widths: Sequence[float | None], **more: object) -> HeadRow:
    """A configuration; a width of None is a seed that failed."""
    return make_head_row(
        label,
        [sample(w, seed) for seed, w in enumerate(widths) if w is not None],
        failed=tuple(blind(seed) for seed, w in enumerate(widths) if w is None),
        **{"planned": len(widths), **more},
    )


def compared(rows: Sequence[HeadRow], **design: object) -> list[Effect]:
    cells = [{"a": str(i % 2), "b": str(i // 2)} for i in range(len(rows))]
    terms = DesignConfig(**design)  # type: ignore[arg-type]
    return find_effects(rows, terms, cells, {}, np.random.default_rng(0))


CONTROL = row("control", [0.100, 0.101, 0.099, 0.1005, 0.0995])
BETTER = [0.080, 0.081, 0.079]
WORSE = [0.150, 0.151, 0.149, 0.152]


@pytest.mark.parametrize(
    ("widths", "word"),
    [
        ([*BETTER, 0.0805, 0.0795], "better"),
        ([*BETTER, None, None], None),
        ([*BETTER, 0.0805, None], None),
        ([*WORSE, None], "worse"),  # at best it were as good as the best of the control
        ([*WORSE[:2], None, None, None], None),
        ([0.095, 0.12, 0.1, 0.11, None], "undecided"),
        ([0.14, 0.16, None, None, None], None),  # without information they would make it worse
        ([0.1002, 0.0999, 0.1001, None], None),
    ],
)
def test_a_verdict_stands_where_the_failed_seeds_could_not_turn_it(
    widths: list[float | None], word: str | None
) -> None:
    (effect,) = compared([CONTROL, row("arm", widths)])
    assert (effect.verdict and effect.verdict.word) == word
    failed = sum(width is None for width in widths)
    assert effect.shortfall == (f"{failed} of {len(widths)} seeds of arm failed" if failed else "")
    if word is None:
        assert effect.note.startswith(f"{failed} of {len(widths)} seeds of arm failed (seed")
        assert "train again" in effect.note
    if word == "worse":
        assert effect.row()["note"] == effect.shortfall
        assert effect.verdict is not None
        assert effect.verdict.improvement is not None
        assert effect.verdict.improvement.share == 0


def test_a_failed_seed_of_the_control_counts_for_the_control() -> None:
    """It speaks against "worse", and can only help "better"."""
    control = row("control", [0.100, 0.101, 0.099, 0.1005, None])
    better = row("better", [*BETTER, 0.0805, 0.0795])
    worse = row("worse", [0.150, 0.151, 0.149, 0.152, 0.150])
    found = {effect.arm: effect for effect in compared([control, better, worse])}
    assert found["worse"].verdict is None
    verdict = found["better"].verdict
    assert verdict is not None
    assert verdict.word == "better"
    assert verdict.improvement is not None
    assert verdict.improvement.share == 1


def test_a_seed_that_is_not_trained_yet_did_not_fail() -> None:
    (effect,) = compared([CONTROL, row("arm", BETTER, planned=5)])
    assert effect.verdict is not None
    assert effect.verdict.word == "better"
    assert effect.shortfall == "2 of 5 seeds of arm not trained yet"
    both = row("arm", [*BETTER, None], planned=6)
    assert shortfall(both) == "1 of 6 seeds of arm failed, 2 not trained yet"


def test_what_is_no_function_of_tracks_has_no_bound() -> None:
    (effect,) = compared([CONTROL, row("arm", [*WORSE, None])], metrics=["last_dev_loss"])
    assert effect.verdict is None
    assert "1 of 5 seeds of arm failed (seed 4)" in effect.note


@pytest.mark.parametrize("lost", [0, 1])
def test_a_cell_with_failed_seeds_counts_in_every_effect(lost: int) -> None:
    rows = [
        row(f"cell {i}", [width * (1 + 0.001 * s) for s in range(5)])
        for i, width in enumerate((0.1, 0.08, 0.1, 0.08))
    ]
    if lost:
        rows[1] = row("cell 1", [0.08, 0.0801, 0.0802, 0.0803, None])
    effects = compared(rows, kind="factorial")
    words = {e.arm: e.verdict and e.verdict.word for e in effects}
    if not lost:
        assert words == {"a=1": "better", "b=1": "equivalent", "a=1 with b=1": "equivalent"}
    else:
        assert set(words.values()) <= {None, "undecided"}
        assert {e.shortfall for e in effects} == {"1 of 5 seeds of cell 1 failed"}


def test_a_lost_fold_is_not_left_out_of_the_blocks() -> None:
    def arm(label: str, widths: Mapping[int, float | None]) -> HeadRow:
        samples = [sample(w, 0, Block(0, f)) for f, w in widths.items() if w is not None]
        failed = tuple(blind(0, Block(0, f)) for f, w in widths.items() if w is None)
        return make_head_row(label, samples, folds=6, failed=failed, planned=len(widths))

    control = arm("control", {f: 0.1 + 0.0005 * f for f in range(6)})
    whole = arm("arm", {f: 0.08 + 0.0006 * (f % 3) for f in range(6)})
    (effect,) = compared([control, whole])
    assert effect.verdict is not None
    assert (effect.verdict.word, effect.verdict.n_arm) == ("better", 6)
    (effect,) = compared(
        [control, arm("arm", {f: 0.08 + 0.0006 * (f % 3) if f else None for f in range(6)})]
    )
    assert effect.verdict is None
    assert effect.note.startswith("1 of 6 members of arm failed (seed 0)")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Three of five seeds of an arm failed; another lacks two seeds, a third its worker killed."""
    root = tmp_path_factory.mktemp("failures")
    write_cache(root, "cache", left_out={"copies of other events": 3})
    sweep = root / "sweeps" / "s"
    arms: list[Mapping[int, float | None]] = [
        {s: 0.100 + 0.001 * s for s in range(5)},
        {0: 0.08, 1: 0.081, 2: None, 3: None, 4: None},
        {0: 0.15, 1: 0.152, 2: 0.151},
        {0: 0.151, 1: 0.153},
    ]
    for number, widths in enumerate(arms):
        arm = {"labels": {"arm": f"arm{number}"}, "overrides": [f"arm=arm{number}"]}
        write_toy_job(sweep / "jobs" / str(number), widths, seeds=5, **arm)  # type: ignore[arg-type]
    Outcome("failed", "its worker was killed 3 times").write(sweep / "jobs" / "3")
    Outcome("failed", "out of memory").write(sweep / "jobs" / "4")
    spec = {
        "seeds": 5,
        "jobs": {f"{n} arm{n}": {"n": n} for n in range(6)},
        "same": {"arm9": 2},
    }
    specification.claim_sweep(sweep, spec)
    return build_report(sweep, root, toy_score)


@pytest.mark.slow
def test_headline_and_tables_say_what_failed_and_what_is_missing(report: Report) -> None:
    answer = verdict_tables.answer(report)
    for part in (
        "no verdict: arm1, arm3, arm4",
        "3 of 5 seeds of arm1 failed.",
        "2 of 5 seeds of arm2 not trained yet.",
        "3 of 5 seeds of arm3 failed.",
        "5 of 5 seeds of arm4 failed.",
        "1 job not trained yet.",
        "arm9 is equal to arm2 and counts once.",
    ):
        assert part in answer
    assert [line[1] for line in tables.main_table(report).rows[:5]] == [
        *("5", "2 of 5", "3 of 5", "2 of 5", "0 of 5")
    ]
    verdicts = verdict_tables.verdict_table(report)
    column = verdicts.columns.index("verdict")
    cells = {line[0]: line[column] for line in verdicts.rows}
    assert cells["arm1"] == "none (3 of 5 seeds of arm1 failed)"
    assert cells["arm2"] == "worse (2 of 5 seeds of arm2 not trained yet)"
    assert "arm3: n = 2 of 5; seeds 2, 3, 4: its worker was killed 3 times" in tables.problems(
        report
    )
    assert "arm4: n = 0 of 5; out of memory" in tables.problems(report)
    assert cells["arm4"] == "none (5 of 5 seeds of arm4 failed)"
    (line,) = [x for x in verdict_tables.open_questions(report) if x.startswith("arm1")]
    assert "(seeds 2, 3, 4), and what they would have given decides" in line


def test_it_stands_on_the_page_in_markdown_and_on_the_terminal(report: Report) -> None:
    console = plain_console(StringIO(), width=120)
    write.print_report(report, console)
    assert isinstance(console.file, StringIO)
    printed = " ".join(console.file.getvalue().split())
    for text in (page.page(report), markdown(report, {}), printed):
        assert "3 of 5 seeds of arm1 failed." in text
        assert "arm9 is equal to arm2 and counts once." in text
        assert "Events left out of the data: 3 copies of other events." in text
        assert "diverged or failed" in text


def test_the_stability_table_limits_the_rate_of_failures(report: Report) -> None:
    table = tables.stability_table(report)
    found = {line[0]: line[1:3] for line in table.rows}
    assert found["arm0"] == ["0 of 5", "45%"]
    assert found["arm1"] == ["3 of 5", "92%"]
    assert found["arm2"] == ["0 of 3", "63%"]


def test_a_summary_counts_failed_and_missing_apart() -> None:
    summary = HeadSummary.of(row("arm", [0.1, 0.1, None], planned=5), jobs=["jobs/0"])
    assert (summary.finished, summary.failed, summary.planned) == (2, 1, 5)
    assert asdict(summary)["shortfall"] == "1 of 5 seeds of arm failed, 2 not trained yet"
