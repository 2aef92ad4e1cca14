"""The description of a report's pictures: values, units, scales and references."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from headsweep.report.content import Report
from headsweep.report.render import binned_pictures, pictures, run_pictures, search_picture
from headsweep.report.render.picture import Band, Line, Picture, Points, Stairs
from headsweep.stats.metrics import MARGINS
from headsweep.stats.verdict import compare
from headsweep.store.outcome import Outcome
from headsweep.store.trials import Trials

NO_UNIT = ("true |eta|", "true eta", "configuration")
"""Beginnings of titles of axes whose values have no unit."""


def points(picture: Picture, label: str, panel: int = 0) -> Points:
    found = [s for s in picture.panels[panel].series if s.label == label and isinstance(s, Points)]
    return found[0]


def test_every_axis_has_its_unit(built: Report) -> None:
    found = pictures.all_pictures(built)
    assert {p.name for p in pictures.paper_pictures(built)} < found.keys()
    for name, picture in found.items():
        assert picture.name == name
        assert picture.title
        assert picture.note
        for axis in (picture.x, *(panel.y for panel in picture.panels)):
            assert re.search(r" \[.+\]", axis.title) or axis.title.startswith(NO_UNIT), axis.title


def test_values_in_bins_are_those_of_the_report(built: Report) -> None:
    picture = binned_pictures.charge_misid(built)
    values = built.get("simpler", "charge_misid", "pt")
    found = points(picture, "simpler")
    np.testing.assert_allclose(found.y, [100 * v.estimate.mean for v in values])
    half = [100 * v.estimate.half for v in values]
    np.testing.assert_allclose(np.subtract(found.high, found.y), half, atol=1e-12)
    np.testing.assert_allclose(np.subtract(found.y, found.low), half, atol=1e-12)
    assert picture.panels[0].y.from_zero
    assert picture.x.ticks == tuple(built.pt_edges)
    assert picture.x.scale == "log"


def test_configurations_stand_side_by_side_within_their_bins(built: Report) -> None:
    for name in ("charge_misid", "sagitta_eta", "tails"):
        picture = pictures.all_pictures(built)[name]
        first, second = (np.asarray(points(picture, x).x) for x in ("conservative", "simpler"))
        assert (first < second).all()
        stairs = [s for s in picture.panels[0].series if isinstance(s, Stairs)]
        for edges in (np.asarray(s.edges) for s in stairs):
            assert ((edges[:-1] < first) & (second < edges[1:])).all()


def test_references_are_told_by_their_kind(built: Report) -> None:
    """The constant predictor would flatten all others but on a logarithmic axis."""
    (constant,) = [row for row in built.references if row.reference == "constant predictor"]
    named = replace(constant, label="another name")
    values = [
        replace(v, label=named.label) if v.label == constant.label else v for v in built.values
    ]
    rows = [named if row is constant else row for row in built.references]
    report = replace(built, references=rows, values=values)
    for picture in pictures.main_pictures(report):
        stairs = {
            s.label: s.dash for p in picture.panels for s in p.series if isinstance(s, Stairs)
        }
        if picture.name == "resolution":
            assert stairs == {
                "another name": "dot",
                "analytic estimate": "dash",
                "classical reference": "solid",
            }
            assert picture.panels[0].y.scale == "log"
        else:
            assert "another name" not in stairs


def test_sagitta_of_both_charges(built: Report) -> None:
    picture = binned_pictures.sagitta_bias(built, "phi")
    for panel, charge in enumerate(("plus", "minus")):
        values = built.get("simpler", f"sagitta_bias_{charge}", "phi")
        found = points(picture, "simpler", panel)
        np.testing.assert_allclose(found.y, [v.estimate.mean for v in values])
    assert [panel.y.note for panel in picture.panels] == ["q = +1", "q = -1"]
    assert (picture.panels[0].y.scale, picture.panels[0].y.threshold) == ("symlog", 1)
    assert not picture.spans


def with_verdict(built: Report) -> Report:
    """The report as if all seeds that failed did not count."""
    (effect,) = built.effects
    r68 = [np.array(head.r68) for head in built.heads]
    verdict = compare(r68[1], r68[0], MARGINS[effect.metric])
    return replace(built, effects=[replace(effect, verdict=verdict)])


def test_effects_are_those_of_the_verdicts(built: Report) -> None:
    built = with_verdict(built)
    (name,) = run_pictures.compared_metrics(built)
    picture = run_pictures.effects(built, name)
    (effect,) = [e for e in built.effects if e.metric == name]
    verdict = effect.verdict
    assert verdict is not None
    (span,) = picture.spans
    assert span.high == pytest.approx(100 * math.expm1(verdict.margin))
    assert points(picture, "change").x == [pytest.approx(100 * math.expm1(verdict.delta))]
    lines = {s.label: s.x for s in picture.panels[0].series if isinstance(s, Line)}
    ends = [100 * math.expm1(end) for end in (verdict.low, verdict.high)]
    assert lines["95% interval"] == pytest.approx(ends)
    assert picture.x.range is not None
    assert picture.x.range[0] < min(*ends, span.low)
    assert picture.x.range[1] > max(*ends, span.high)
    assert picture.panels[0].y.names == (effect.arm,)


def test_a_comparison_without_a_verdict_has_a_row(built: Report) -> None:
    built = with_verdict(built)
    (effect,) = built.effects
    none = replace(effect, arm="other", verdict=None)
    picture = run_pictures.effects(replace(built, effects=[none, effect]), effect.metric)
    assert picture.panels[0].y.names == ("other: no verdict", effect.arm)
    assert {y for s in picture.panels[0].series if isinstance(s, Points) for y in s.y} == {1}
    picture = run_pictures.effects(replace(built, effects=[none]), effect.metric)
    assert picture.panels[0].y.names == ("other: no verdict",)
    assert not picture.panels[0].series


def test_learning_curves(built: Report) -> None:
    series = run_pictures.learning_curves(built).panels[0].series
    own = built.curves[built.curves["label"] == "simpler"]
    (band,) = [s for s in series if isinstance(s, Band) and s.label == "simpler"]
    assert list(band.low) == own["val_loss_low"].tolist()
    lines = {s.dash: s for s in series if isinstance(s, Line) and s.label == "simpler"}
    assert list(lines["solid"].y) == own["val_loss_mean"].tolist()
    np.testing.assert_array_equal(lines["dot"].y, own["train_loss_mean"])


def test_stability_has_every_member(built: Report) -> None:
    for row in built.heads:
        assert tuple(points(run_pictures.stability(built), row.label).x) == row.r68


def test_pareto_front() -> None:
    points = [(3.0, 1.0), (1.0, 3.0), (2.0, 3.5), (2.0, 2.0), (4.0, 1.0)]
    assert run_pictures.pareto(points) == [(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]


def searched(objectives: int) -> Trials:
    """Four complete trials, a pruned and a failed one."""
    outcomes = {
        n: Outcome("complete", values=[v, 10.0 * n + 1][:objectives], spread=[0.01])
        for n, v in enumerate((0.4, 0.2, 0.3, 0.1))
    }
    outcomes[4], outcomes[5] = Outcome("pruned", values=[0.7]), Outcome("failed", "why")
    names, directions = ["val_qoverpt_r68", "params_total"], ["minimize"] * 2
    return Trials(outcomes, 6, names[:objectives], directions[:objectives])


def test_a_search_by_number() -> None:
    picture = search_picture.search(searched(1))
    series = {s.label: s for s in picture.panels[0].series}
    complete, best = points(picture, "complete"), series["best so far"]
    assert list(complete.y) == [0.4, 0.2, 0.3, 0.1]
    np.testing.assert_allclose(complete.high, [0.41, 0.21, 0.31, 0.11])
    assert isinstance(best, Line)
    assert list(best.y) == [0.4, 0.2, 0.2, 0.1]
    assert points(picture, "pruned").x == [4]
    assert (points(picture, "failed").x, points(picture, "failed").y) == ([5], [0.7])
    assert picture.x.title == "trial [number]"


def test_a_search_of_two_objectives() -> None:
    picture = search_picture.search(searched(2))
    series = {s.label: s for s in picture.panels[0].series}
    assert series.keys() == {"complete", "shown in the report", "Pareto front"}
    front = series["Pareto front"]
    assert isinstance(front, Line)
    assert (front.x, front.y) == ([1, 11, 31], [0.4, 0.2, 0.1])
    assert points(picture, "complete").x == [1, 11, 21, 31]


def test_many_trials_have_no_bars() -> None:
    many = {n: Outcome("complete", values=[1.0 + n], spread=[0.1]) for n in range(1001)}
    trials = replace(searched(1), outcomes=many)
    assert len(points(search_picture.search(trials), "complete").low) == 0


def test_a_search_without_a_complete_trial() -> None:
    trials = replace(searched(1), outcomes={0: Outcome("failed", "why")})
    assert search_picture.search(trials).panels[0].series == []
