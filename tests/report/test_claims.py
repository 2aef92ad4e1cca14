"""The six claims on made-up runs in which each is true or false by construction."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from headsweep.errors import UserError
from headsweep.files import seal
from headsweep.report.build import build_report
from headsweep.report.claim_evidence import SPREAD, TREND
from headsweep.report.claims import CLAIMS, EXTRA
from headsweep.report.content import REPORT_SCHEMA, Report
from headsweep.report.obstacle import NO_INFORMATION
from headsweep.report.render import page as render_page
from headsweep.report.render import verdict_tables
from headsweep.report.render.markdown import markdown
from headsweep.report.render.tables import NOTHING
from headsweep.store import specification
from headsweep.sweep.claim_roles import ROLES
from headsweep.sweep.plan import make_plan
from helpers.claim_rows import arms, config, judged, judged_arms, row
from helpers.toy_runs import toy_score, write_cache, write_toy_job

pytestmark = pytest.mark.slow


def test_true_claims_are_supported() -> None:
    found = judged_arms(1)
    assert [*found] == [claim.name for claim in (*CLAIMS, EXTRA)]
    assert {claim.finding for claim in found.values()} == {"supported"}
    assert {part.finding for claim in found.values() for part in claim.parts} == {"supported"}
    for name, claim in found.items():
        for part in claim.parts:
            assert part.effect.verdict is not None
            assert part.effect.verdict.comparisons == (1 if name == EXTRA.name else 6)


def test_wrong_claims_are_refuted() -> None:
    found = judged_arms(-1)
    assert {claim.finding for claim in found.values()} == {"refuted"}
    assert {claim.how for name, claim in found.items() if name != "C4"} == {"opposite"}
    assert [part.finding for part in found["C4"].parts] == ["refuted", "refuted"]


def test_equal_arms_are_no_improvement() -> None:
    same = [row(role) for role in ROLES]
    found = judged(same)
    for name in ("C1", "C2", "C5", "C6", "before"):
        assert (found[name].finding, found[name].how) == ("refuted", "equivalent")
    assert [part.finding for part in found["C4"].parts] == ["refuted", "supported"]


def test_losses_of_claims_are_named_by_the_split_that_is_scored() -> None:
    for split in ("dev", "test"):
        parts = [part for claim in CLAIMS for part in claim.on(split).parts]
        assert [part.metric for part in parts if "last" in part.metric] == [
            f"last_{split}_loss",
            f"last_{split}_loss",
        ]
        assert [part.words for part in parts if split in part.words] == [
            f"{split} loss / training loss is lower",
            f"{split} loss is not worse by the margin",
            f"{split} loss at the end is lower",
        ]


def test_deltas_and_intervals_are_those_of_welch() -> None:
    rows = arms(1)
    found = judged_arms(1)
    logs = {
        (row.label, name): np.log([sample.scalars[name] for sample in row.samples])
        for row in rows
        for name in row.samples[0].scalars
    }
    for claim, part, metric, other in (
        ("C4", 0, "gap", "no dropout"),
        ("C4", 1, "last_dev_loss", "no dropout"),
        ("C5", 0, "loss_at_10pct", "direct"),
        ("C5", 1, "last_dev_loss", "direct"),
    ):
        effect = found[claim].parts[part].effect
        verdict = effect.verdict
        assert verdict is not None
        assert (effect.metric, effect.control) == (metric, other)
        test = stats.ttest_ind(logs["conservative", metric], logs[other, metric], equal_var=False)
        wide = test.confidence_interval(1 - 0.05 / 6)
        assert (verdict.sim_low, verdict.sim_high) == pytest.approx((wide.low, wide.high))
        assert verdict.se_events is None  # not a function of tracks
    eta = found["C2"].parts[0].effect.verdict
    assert eta is not None
    assert eta.delta == pytest.approx(-0.3, abs=1e-9)
    assert eta.se_events == pytest.approx(0, abs=1e-9)


def test_the_interaction_is_the_change_at_high_pt_less_that_at_low() -> None:
    part = judged_arms(1)["C1"].parts[1]
    assert part.effect.metric == TREND
    assert part.effect.verdict is not None
    assert part.effect.verdict.delta == pytest.approx(-0.3, abs=0.02)
    assert part.effect.verdict.se_events is not None
    assert "50–100 and 100–200 against 5–10 and 10–20 GeV" in part.words


def test_the_spread_is_a_ratio_of_deviations_and_says_how_many_seeds_it_wants() -> None:
    part = judged_arms(1)["C3"].parts[0]
    assert part.effect.metric == SPREAD
    assert part.effect.verdict is not None
    assert part.effect.verdict.delta == pytest.approx(-1.5, abs=0.1)
    assert part.effect.verdict.test == "Brown-Forsythe"
    assert part.effect.verdict.margin == pytest.approx(math.log(1.5))
    assert "50 seeds each are asked for, here are 12" in part.words


def test_few_tracks_in_the_bins_leave_only_the_second_part_open() -> None:
    found = judged(arms(1)[:2], fewest=1000)["C1"]
    assert (found.finding, found.parts[0].finding) == ("not testable", "supported")
    assert "0 of 5 quoted pT bins have 1000 tracks" in found.parts[1].effect.note
    assert judged(arms(-1)[:2], fewest=1000)["C1"].finding == "refuted"  # one part is enough


def test_without_information_nothing_is_said_of_pt_but_of_eta_and_losses() -> None:
    rows = arms(1)
    rows[0] = row("conservative", rho=1.5, eta=0.001)
    found = judged(rows)
    for name in ("C1", "C3", "C6", "before"):
        assert found[name].finding == "not testable"
        assert NO_INFORMATION in found[name].parts[0].effect.note
    assert found["C2"].finding == found["C4"].finding == "supported"


def test_who_has_not_converged_or_is_not_there_is_named() -> None:
    found = judged(arms(1)[:4], objections={"half": "not converged"})
    assert found["C6"].parts[0].effect.note == "half: not converged"
    assert found["before"].parts[0].effect.note == "no configuration is 'before'"
    assert found["C5"].finding == "supported"


def test_folds_are_blocks_and_have_no_spread_of_seeds() -> None:
    found = judged(arms(1, folds=4))
    assert "folds differ in their tracks" in found["C3"].parts[0].effect.note
    for name in ("C1", "C2", "C4", "C5", "C6"):
        for part in found[name].parts:
            assert part.effect.verdict is not None
            assert part.effect.verdict.test == "Nadeau-Bengio"
            assert part.effect.verdict.comparisons == 6
    assert found["C5"].finding == found["C6"].finding == "supported"


def test_a_value_without_a_logarithm_is_not_testable() -> None:
    rows = arms(1)[:2]
    rows[1].samples[3].scalars["loss_at_10pct"] = math.nan
    found = judged(rows)["C5"]
    assert found.finding == "not testable"
    assert "cannot be compared on the log scale" in found.parts[0].effect.note


def test_the_design_may_raise_the_number_of_comparisons() -> None:
    conservative, _, _, half, before = arms(1)
    found = judged([conservative, half, before], comparisons=24)
    sizes = {
        p.effect.verdict.comparisons for c in found.values() for p in c.parts if p.effect.verdict
    }
    assert sizes == {24, 1}


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (["optim.lr=0.02,0.04"], "jobs 0 and 1 are both 'conservative'"),
        (["arm=direct_head,baseline"], "the first job must be a head with hidden layers"),
        (["arm=no_dropout,baseline"], "the first job must be a head with hidden layers"),
        (["head.regression_hidden_dim=null"], "a stated width, dropout and full projections"),
        (["pooling=half", "arm=baseline,direct_head"], "full projections"),
    ],
)
def test_jobs_that_do_not_fit_are_refused_before_they_run(
    overrides: Sequence[str], match: str
) -> None:
    with pytest.raises(UserError, match=match):
        make_plan(["sweeps=claims", *overrides], multirun=True)


def test_the_sweep_has_every_role_at_its_rate() -> None:
    plan = make_plan(["sweeps=claims", "rates=tuned"], True)
    rates = {job.labels["arm"]: job.config.optim.lr for job in plan.jobs}
    assert len(rates) == len(ROLES)
    assert {rates[arm] for arm in ("baseline", "no_dropout", "half_projections")} == {0.08}
    assert {rates[arm] for arm in ("direct_head", "before")} == {0.04}
    head = plan.jobs[-1].resolved["head"]
    assert head["regression_hidden_dim"] == 144


def build(tmp_path: Path, seeds: int) -> Report:
    """A report of toys that differ in the width of their errors."""
    write_cache(tmp_path, "cache")
    file = tmp_path / "cache" / "features" / "cache" / "meta.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "dim": 2}))  # half of 1 is 0
    seal(file.parent)
    sweep = tmp_path / "sweeps" / "c"
    specification.claim_sweep(sweep, {"seeds": seeds, "design": {"kind": "claims"}})
    for number, (role, width) in enumerate(zip(ROLES, (0.1, 0.2, 0.1, 0.15, 0.25), strict=True)):
        widths = {100 * number + s: width * (1 + 0.002 * s) for s in range(seeds)}
        arm = role.replace(" ", "_")
        write_toy_job(
            sweep / "jobs" / str(number),
            widths,
            labels={"arm": arm},
            overrides=[f"arm={arm}"],
            config={key: config(role)[key] for key in ("head", "pooling")},
        )
    return build_report(sweep, tmp_path, toy_score)


def test_one_seed_has_no_spread_and_still_a_page(tmp_path: Path) -> None:
    built = build(tmp_path, 1)
    (claim,) = [claim for claim in built.claims if claim.name == "C3"]
    (part,) = claim.parts
    assert claim.finding == "undecided"
    assert part.effect.verdict is not None
    assert math.isnan(part.effect.verdict.low)
    assert part.effect.verdict.needed is None
    (row,) = [row for row in verdict_tables.verdict_table(built).rows if row[0] == "C3"]
    page = render_page.page(built)
    assert row.count(NOTHING) == 4
    assert part.words in page
    assert "nan" not in "".join(row)


def test_a_report_shows_the_claims(tmp_path: Path) -> None:
    built = build(tmp_path, 5)
    assert {claim.name: claim.finding for claim in built.claims} == {
        "C1": "not testable",
        "C2": "supported",
        "C3": "undecided",
        "C4": "undecided",
        "C5": "undecided",
        "C6": "supported",
        "before": "supported",
    }
    table = verdict_tables.verdict_table(built)
    names = ["C1a", "C1b", "C2", "C3", "C4a", "C4b", "C5a", "C5b", "C6", "before"]
    assert [line[0] for line in table.rows] == names
    assert "m = 6" in table.columns
    questions = verdict_tables.open_questions(built)
    open_ = {line.partition(",")[0] for line in questions}
    assert open_ == {"C1b", "C3", "C4a", "C4b", "C5a", "C5b"}
    text = markdown(built, {})
    assert all(claim.words in text for claim in CLAIMS)
    content = json.loads(built.to_json(), parse_constant=pytest.fail)
    assert content["schema"] == REPORT_SCHEMA
    assert [claim["finding"] for claim in content["claims"]][:2] == ["not testable", "supported"]
    assert content["claims"][5]["parts"][0]["effect"]["verdict"]["word"] == "better"
    assert len(content["effects"]) == 10
    page = render_page.page(built)
    assert all(claim.words in page for claim in CLAIMS)
