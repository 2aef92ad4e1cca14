"""Which head to take: every case, read from verdicts of made-up seeds."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from headsweep.report.claims import CLAIMS, ClaimResult
from headsweep.report.comparisons import Effect
from headsweep.report.content import Report
from headsweep.report.render.recommendation import recommendation
from headsweep.stats.factorial import BOTH
from headsweep.stats.metrics import MARGINS
from headsweep.stats.verdict import Verdict, compare
from headsweep.store.trials import Trials

SPREAD = np.exp(0.01 * np.array([-1.5, -0.5, 0.0, 0.5, 1.5]))
"""Seeds around 1; a change of 20% is far beyond their scatter."""


def verdict(change: float, metric: str = "qoverpt_r68", scatter: float = 1.0) -> Verdict:
    """Of an arm whose metric is ``change`` times that of the control."""
    seeds = SPREAD**scatter
    return compare(0.2 * change * seeds, 0.2 * seeds, MARGINS[metric])


def effect(arm: str, change: float | None, control: str = "a", **more: object) -> Effect:
    """A comparison; without a change there is no verdict."""
    metric = str(more.get("metric", "qoverpt_r68"))
    scatter = float(str(more.get("scatter", 1.0)))
    found = None if change is None else verdict(change, metric, scatter)
    return Effect(arm, control, metric, 0, found, "" if found else f"{arm} failed")


@pytest.fixture
def report(built: Report) -> Report:
    """Heads a to e of 100, 200, .. parameters; a is the control."""
    heads = [
        replace(built.heads[0], label=label, parameters=100 * (n + 1))
        for n, label in enumerate("abcde")
    ]
    return replace(built, heads=heads, effects=[])


def said(report: Report, *effects: Effect, **more: Any) -> str:
    return recommendation(replace(report, effects=[*effects], **more))


def test_the_better_head_is_taken_with_its_cost(report: Report) -> None:
    text = said(report, effect("b", 0.8), effect("c", 1.3))
    change = verdict(0.8)
    assert text.startswith(
        "Take b (200 parameters): it is better than a, the control (100 parameters), by -20.0% in "
        f"r68 of q/pT ({change.range(change.sim_low, change.sim_high)})."
    )
    assert text.endswith("Against a, worse: c.")


def test_of_several_better_heads_the_best_is_taken_and_no_verdict_is_made_up(
    report: Report,
) -> None:
    text = said(report, effect("b", 0.8), effect("c", 0.7), effect("d", 1.0, scatter=9.0))
    assert text.startswith("Take c (300 parameters)")
    assert "Also better than a: b (-20.0% in r68 of q/pT" in text
    assert "no verdict compares them with c" in text
    assert text.endswith("Against a, undecided: d.")


def test_without_a_better_head_the_control_stays(report: Report) -> None:
    text = said(report, effect("b", 1.3), effect("c", 1.0, scatter=9.0))
    assert text == (
        "Take a, the control (100 parameters), until a verdict says otherwise: no other head is "
        "shown to be better. Against a, undecided: c; worse: b."
    )
    decided = said(report, effect("b", 1.3), effect("c", 1.001))
    assert "until" not in decided
    assert decided.endswith("Against a, equivalent: c (300 parameters); worse: b.")


def test_withheld_verdicts_name_no_head(report: Report) -> None:
    text = said(report, effect("b", None), effect("c", None))
    assert text == "No head can be named: no comparison has a verdict (b failed; c failed)."
    some = said(report, effect("b", None), effect("c", 1.3))
    assert some.startswith("Take a, the control (100 parameters), until")
    assert some.endswith("Against a, without a verdict: b; worse: c.")
    one_seed = Effect("b", "a", "qoverpt_r68", 0, compare(SPREAD[:1], SPREAD[:1], MARGINS["gap"]))
    assert said(report, one_seed).startswith("No head can be named: no comparison has a verdict (")


def test_a_head_that_is_better_and_worse_is_not_taken(report: Report) -> None:
    eta = effect("b", 1.3, metric="eta_abs68")
    text = said(report, effect("b", 0.8), eta)
    assert text.startswith("Take a, the control (100 parameters), until")
    assert "Against a, better in one metric and worse in another: b" in text
    both = said(report, effect("b", 0.8), effect("b", 0.7, metric="eta_abs68"))
    assert "by -20.0% in r68 of q/pT" in both
    assert " and -30.0% in eta error (68%)" in both


def test_a_path_is_followed_as_far_as_every_step_is_better(report: Report) -> None:
    steps = [effect("b", 0.8, "a"), effect("c", 0.9, "b"), effect("d", 1.0, "c", scatter=9.0)]
    text = said(report, *steps, effect("e", 0.8, "d"), design="path")
    assert text.startswith("Take c (300 parameters): from a (100 parameters) every step up to it")
    assert "b (-20.0% in r68 of q/pT" in text
    assert "Later steps that are better than the one before: e" in text
    assert "is not shown" in text
    assert text.endswith("Other steps, undecided: d.")
    stays = said(report, *steps[2:], effect("e", 0.8, "d"), design="path")
    assert stays.startswith("Take c, where the path begins (300 parameters), until")
    assert "e" in stays


def test_a_factorial_design_names_levels_and_no_head(report: Report) -> None:
    main = [effect("x=2", 0.8, "x=1"), effect("y=2", 1.3, "y=1")]
    text = said(report, *main, effect("x=2 with y=2", 1.3, BOTH), design="factorial")
    assert text.startswith("No single head can be named")
    assert "better is x=2 than x=1 (-20.0% in r68 of q/pT" in text
    assert "y=1 than y=2 (+30.0%" in text
    assert text.endswith("The effects depend on each other: x=2 with y=2.")
    flat = said(report, effect("x=2", 1.0, "x=1", scatter=9.0), design="factorial")
    assert flat.endswith("no level is shown to be better than the other; undecided: x=2.")


def test_what_compares_no_heads_names_none(report: Report) -> None:
    search = Trials({}, 3, ["val_loss"], ["minimize"])
    text = recommendation(replace(report, search=search))
    assert text.startswith("Take none of these trials yet")
    assert f"headsweep train sweeps=confirm study={report.name} --root " in text
    claim = ClaimResult("C1", CLAIMS[0].words, "a", "b", "supported", "", ())
    assert "No head to take follows" in said(report, effect("b", 0.8), claims=[claim])
    alone = replace(report, heads=report.heads[:1])
    assert recommendation(alone) == "No head can be named: a is compared with no other head."
    assert "needs all its configurations" in recommendation(report)  # a design with equal cells
