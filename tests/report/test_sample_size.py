"""How many seeds a verdict takes, from pilots whose spread is known."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from headsweep.config import DesignConfig
from headsweep.errors import UserError
from headsweep.report.comparisons import find_effects
from headsweep.report.looks import SweepLooks
from headsweep.report.obstacle import NO_INFORMATION
from headsweep.report.predictions import head_row
from headsweep.report.sample_size import SeedPlan, plan_seeds, plan_table
from headsweep.report.scored_cache import ScoredCache
from headsweep.stats.power import MOST
from headsweep.store import specification
from headsweep.store.labels import group_rows, read_jobs
from headsweep.terminal import duration
from helpers.toy_runs import toy_score, write_pilot

pytestmark = pytest.mark.slow

CONTROL = {s: 0.10 + 0.002 * s for s in range(4)}
ARM = {s: 0.15 + 0.006 * s for s in range(4)}


def plan(sweep: Path, **terms: Any) -> SeedPlan:
    return plan_seeds(sweep, score=toy_score, **terms)


def smallest(sd_arm: float, sd_control: float, eps: float, m: int) -> int:
    """The textbook's search: power of the two-sided Welch test at a difference of eps."""
    for n in range(2, 10_000):
        parts = np.array([sd_arm, sd_control]) ** 2 / n
        df = parts.sum() ** 2 / (parts**2 / (n - 1)).sum()
        limit = stats.t.ppf(1 - 0.05 / m / 2, df)
        if stats.nct.sf(limit, df, eps / math.sqrt(parts.sum())) >= 0.8:
            return n
    raise AssertionError


@pytest.mark.parametrize(("margin", "m"), [(None, 1), (0.02, 1), (0.02, 6)])
def test_seeds_follow_from_spread_and_margin(tmp_path: Path, margin: float | None, m: int) -> None:
    sweep = write_pilot(tmp_path, CONTROL, ARM)
    specification.claim_sweep(sweep, {"seeds": 4, "design": {"comparisons": m}})
    found = plan(sweep, margin=margin)
    (one,) = found.comparing
    spread = [float(np.std(np.log([*w.values()]), ddof=1)) for w in (ARM, CONTROL)]
    assert one.spread == pytest.approx(spread, rel=0.02)
    assert one.events == pytest.approx(0, abs=1e-9)  # equal seeds have equal errors here
    eps = math.log(1.05 if margin is None else 1 + margin)
    assert (found.margin, one.comparisons) == (pytest.approx(eps), m)
    assert one.needed.difference.n == smallest(*one.spread, eps, m)
    assert one.needed.difference.low is not None
    assert one.needed.difference.high is not None
    assert one.needed.difference.low <= one.needed.difference.n < one.needed.difference.high
    assert one.seconds == pytest.approx((12.0 + 3) / 4 * 2)  # the longest member's, by four


def test_effects_and_interactions_of_a_factorial_design_are_two_families(tmp_path: Path) -> None:
    """Of 2 x 2 cells with the same spread s: SE is s / sqrt(n) and 2 s / sqrt(n), df 4 (n - 1)."""
    cells = [{"pooling": p, "arm": a} for p in ("full", "half") for a in ("with", "without")]
    arms = [{seed: factor * width for seed, width in ARM.items()} for factor in (1, 2, 3, 4)]
    sweep = write_pilot(tmp_path, *arms, cells=cells)
    specification.claim_sweep(sweep, {"seeds": 4, "design": {"kind": "factorial"}})
    found = plan(sweep, margin=0.02)
    assert [(one.arm, one.control, one.comparisons) for one in found.comparing] == [
        ("pooling=half", "pooling=full", 2),
        ("arm=without", "arm=with", 2),
        ("pooling=half with arm=without", "the sum of both", 1),
    ]
    spread = found.comparing[0].spread
    assert spread == pytest.approx([spread[0]] * 4)
    for one, factor in zip(found.comparing, (1, 1, 2), strict=True):
        error = factor * spread[0]
        n = next(
            n
            for n in range(2, 10_000)
            if stats.nct.sf(
                stats.t.ppf(1 - 0.025 / one.comparisons, 4 * (n - 1)),
                4 * (n - 1),
                math.log(1.02) / (error / math.sqrt(n)),
            )
            >= 0.8
        )
        assert one.needed.difference.n == n
        assert one.seconds == pytest.approx(4 * (12.0 + 3) / 4)
    assert "families of 2 and 1 comparisons, each at 5%" in found.words()
    n = max(one.needed.difference.n or 0 for one in found.comparing)
    assert found.seconds == pytest.approx(4 * (12.0 + 3) / 4)
    whole = duration(n * found.seconds / 2)
    assert found.totals(2)[0].startswith(f"difference in every comparison: {n} seeds per cell (")
    assert found.totals(2)[0].endswith(f"), {whole} in all")
    assert " to " in plan_table(found, 2)[1][0][2]


def test_what_was_found_does_not_matter(tmp_path: Path) -> None:
    """Arms that differ by a tenth and by half plan alike: the ratio of their seeds is the same."""
    plans = []
    for number, factor in enumerate((1.1, 1.5)):
        arm = {s: w * factor for s, w in CONTROL.items()}
        (one,) = plan(write_pilot(tmp_path / str(number), CONTROL, arm)).comparing
        plans.append((one.needed.difference, one.needed.equivalence))
    assert plans[0] == plans[1]


def test_events_may_be_what_is_missing(tmp_path: Path) -> None:
    arm = {10 + s: w for s, w in CONTROL.items()}
    found = plan(write_pilot(tmp_path, CONTROL, arm), margin=0.01)
    (one,) = found.comparing
    assert one.events > 0.01
    assert one.needed.difference.n is None
    assert "no number of seeds settles this" in found.limits()[0]
    assert "scored events instead of 300 would" in found.limits()[0]
    assert "no number" in plan_table(found, 2)[1][0]
    assert found.totals(2) == []


def test_a_comparison_without_a_verdict_has_the_reason_of_the_report(tmp_path: Path) -> None:
    blind = {s: 3.0 + s for s in range(4)}
    sweep = write_pilot(tmp_path, CONTROL, blind)
    [line] = plan(sweep).withheld
    assert line == f"arm1 against arm0: no verdict; arm1: {NO_INFORMATION}"
    assert plan(write_pilot(tmp_path / "b", CONTROL, ARM)).withheld == []


def test_failed_members_do_not_count_and_one_is_no_spread(tmp_path: Path) -> None:
    sweep = write_pilot(tmp_path, {**CONTROL, 9: None}, ARM)
    assert len(plan(sweep).comparing) == 1
    with pytest.raises(UserError, match="arm1: 1 finished seeds have no spread; train two"):
        plan(write_pilot(tmp_path / "b", CONTROL, {0: 0.2, 1: None}))


def test_arms_that_agree_to_the_last_bit_are_planned_once(tmp_path: Path) -> None:
    sweep = write_pilot(tmp_path, CONTROL, ARM, ARM)
    jobs = {f"{n} arm{n}": {"arm": f"arm{n}"} for n in range(3)}
    specification.claim_sweep(sweep, {"seeds": 4, "jobs": jobs})
    assert [(one.arm, one.comparisons) for one in plan(sweep).comparing] == [("arm1", 1)]


def test_what_cannot_be_planned_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no jobs to plan from"):
        plan_seeds(tmp_path / "sweeps" / "nothing")
    with pytest.raises(UserError, match="one configuration: nothing to compare"):
        plan(write_pilot(tmp_path / "a", CONTROL))
    with pytest.raises(UserError, match="--metric gap: cannot be planned; one of qoverpt_r68"):
        plan(write_pilot(tmp_path / "b", CONTROL, ARM), metric="gap")
    cells = [{"pooling": p, "arm": a} for p in ("full", "half") for a in ("with", "without")]
    factorial = write_pilot(tmp_path / "d", CONTROL, ARM, CONTROL, ARM, cells=cells)
    specification.claim_sweep(factorial, {"seeds": 4, "design": {"kind": "factorial"}})
    with pytest.raises(UserError, match="some are equal: half with, half without"):
        plan(factorial)
    folds = write_pilot(tmp_path / "c", CONTROL, ARM, split={"folds": 5})
    with pytest.raises(UserError, match="its precision comes from split seeds"):
        plan(folds)


def test_plan_and_report_of_one_sweep_say_the_same(tmp_path: Path) -> None:
    """Both read dev; the seeds differ in their errors, so that events scatter, too."""
    sweep = write_pilot(tmp_path, CONTROL, {10 + s: w for s, w in CONTROL.items()}, ARM)
    specification.claim_sweep(sweep, {"seeds": 4, "design": {"comparisons": 4}})
    planned = plan(sweep)
    assert (planned.split, planned.verdict_split) == ("dev", "dev")
    assert planned.words().endswith("read on dev")
    caches = {"cache": ScoredCache.open(tmp_path, "cache", "dev")}
    rows = [
        head_row(label, jobs, caches, tmp_path, toy_score)
        for label, jobs in group_rows(read_jobs(sweep)).items()
    ]
    design = DesignConfig(metrics=["eta_abs68", "qoverpt_r68"], comparisons=4)
    rng = np.random.default_rng(0)
    effects = find_effects(rows, design, [], {}, rng)[2:]  # of r68, behind another metric
    assert [e.verdict and e.verdict.word for e in effects] == ["undecided", "worse"]
    for one, effect in zip(planned.comparing, effects, strict=True):
        assert effect.verdict is not None
        assert (one.arm, one.control) == (effect.arm, effect.control)
        assert one.comparisons == effect.verdict.comparisons
        assert one.events == effect.verdict.se_events
    assert effects[0].verdict is not None
    assert planned.comparing[0].needed == effects[0].verdict.needed
    # Once that was reported, more seeds are one more look, which takes more of them.
    design = DesignConfig(comparisons=4)  # as the sweep has it
    looks = SweepLooks.open(sweep, group_rows(read_jobs(sweep)), design)
    again = find_effects(rows, design, [], {}, np.random.default_rng(0), looks=looks.at)
    before = plan(sweep, margin=0.13).comparing[0].needed.equivalence.n
    looks.record(again)
    after = plan(sweep)
    assert after.words().endswith("so the numbers are for one more look")
    assert again[0].verdict is not None
    assert after.comparing[0].needed == again[0].verdict.needed
    assert before is not None
    assert (plan(sweep, margin=0.13).comparing[0].needed.equivalence.n or MOST) > before


def test_test_is_never_read_for_a_plan(tmp_path: Path) -> None:
    sweep = write_pilot(tmp_path, CONTROL, ARM)
    specification.claim_sweep(sweep, {"seeds": 4, "design": {"split": "test"}})

    def closed(*_: object, **__: object) -> None:
        raise AssertionError("scored")

    found = plan_seeds(sweep, score=closed)  # type: ignore[arg-type]
    assert "read on val, as planning leaves test closed" in found.words()
