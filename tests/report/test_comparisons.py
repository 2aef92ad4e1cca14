"""Comparisons of fabricated runs, against Welch's test of the same values and a plain bootstrap."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from headsweep.config import DesignConfig, MLPHeadConfig
from headsweep.errors import UserError
from headsweep.report.build import build_report
from headsweep.report.comparisons import (
    Effect,
    find_effects,
)
from headsweep.report.content import Report
from headsweep.report.obstacle import NO_INFORMATION, OTHER_EVENTS, OTHER_TRACKS
from headsweep.report.predictions import HeadRow, Sample
from headsweep.report.resampling import event_values
from headsweep.stats.metrics import LAST_LOSSES, MARGINS, METRICS, SCORED_LOSSES
from headsweep.stats.tracks import Tracks
from headsweep.store import specification
from headsweep.store.labels import Block, loss_key
from helpers.head_rows import make_head_row
from helpers.toy_runs import smear, toy_score, write_cache, write_toy_job

pytestmark = pytest.mark.slow

Widths = Mapping[int, float | None]

CONTROL = {s: 0.100 + 0.001 * s for s in range(5)}
WORSE = {10 + s: 0.150 + 0.001 * s for s in range(5)}
SAME = {s: 0.1005 + 0.001 * s for s in range(5)}
WIDE = {30 + s: 0.08 + 0.01 * s for s in range(5)}
"""With equal seeds the toy's errors are the same but for their width: then events do not matter."""


def build(
    root: Path, arms: Sequence[Widths], design: Mapping[str, object] | None = None, **more: object
) -> Report:
    if not (root / "cache").exists():
        write_cache(root, "cache")
    sweep = root / "sweeps" / "s"
    for number, widths in enumerate(arms):
        write_toy_job(
            sweep / "jobs" / str(number),
            widths,
            labels={"arm": f"arm{number}"},
            overrides=[f"arm=arm{number}"],
            **more,  # type: ignore[arg-type]
        )
    if design is not None:
        specification.claim_sweep(sweep, {"seeds": 5, "design": dict(design)})
    return build_report(sweep, root, toy_score)


def only(built: Report) -> Effect:
    (effect,) = built.effects
    return effect


@pytest.mark.parametrize(
    ("arm", "word"), [(WORSE, "worse"), (SAME, "equivalent"), (WIDE, "undecided")]
)
def test_the_verdict_follows_from_the_values_of_the_seeds(
    tmp_path: Path, arm: Widths, word: str
) -> None:
    effect = only(build(tmp_path, [CONTROL, arm]))
    assert effect.verdict is not None
    assert (effect.arm, effect.control, effect.verdict.word) == ("arm1", "arm0", word)
    # rho is exactly normal here, so that r68 is the width.
    logs = [np.log([w for w in widths.values() if w]) for widths in (arm, CONTROL)]
    found = stats.ttest_ind(*logs, equal_var=False).confidence_interval()
    assert effect.verdict.delta == pytest.approx(logs[0].mean() - logs[1].mean(), abs=0.002)
    assert effect.verdict.se_events is not None
    assert (effect.verdict.se_events > 1e-9) == (word != "equivalent")
    se = float(np.sqrt(sum(np.var(x, ddof=1) / len(x) for x in logs)))
    assert effect.verdict.se_seeds == pytest.approx(se, rel=0.05)
    # Events add their variance, and with it degrees of freedom.
    whole = np.hypot(effect.verdict.se_seeds, effect.verdict.se_events)
    assert effect.verdict.high - effect.verdict.delta > 1.95 * whole
    assert found.low < effect.verdict.delta < found.high
    assert (effect.verdict.needed is not None) == (word == "undecided")


def test_events_are_resampled_together_for_both_arms(tmp_path: Path) -> None:
    """Two arms with the same errors, but for a factor, share what the sample of events does."""
    scaled = {seed: 1.001 * width for seed, width in CONTROL.items() if width}
    effect = only(build(tmp_path, [CONTROL, scaled]))
    assert effect.verdict is not None
    assert effect.verdict.se_events == pytest.approx(0, abs=1e-12)
    other = {seed + 100: width for seed, width in CONTROL.items()}
    apart = only(build(tmp_path / "b", [CONTROL, other]))
    assert apart.verdict is not None
    assert apart.verdict.se_events is not None
    # r68 of T normal tracks has the relative error sqrt(q (1 - q) / T) / (2 f(1)), f(1) = 0.242;
    # five seeds with errors of their own in each arm.
    expected = np.sqrt(0.6827 * 0.3173 / 600) / (2 * stats.norm.pdf(1)) * np.sqrt(2 / 5)
    assert apart.verdict.se_events == pytest.approx(expected, rel=0.25)


@pytest.mark.parametrize("metric", ["qoverpt_r68", "gap"])
def test_arms_on_different_events_have_no_verdict(tmp_path: Path, metric: str) -> None:
    write_cache(tmp_path, "cache")
    sweep = tmp_path / "sweeps" / "s"
    for number, widths in enumerate((CONTROL, WORSE)):
        folder = sweep / "jobs" / str(number)
        write_toy_job(folder, widths, labels={"arm": f"arm{number}"}, split={"seed": number})
    specification.claim_sweep(sweep, {"seeds": 5, "design": {"metrics": [metric]}})
    effect = only(build_report(sweep, tmp_path, toy_score))
    assert (effect.verdict, effect.note) == (None, OTHER_EVENTS)


def test_other_tracks_of_the_same_events_are_resampled_with_them() -> None:
    """A selection that keeps every second track; both tracks of an event have the same error."""
    whole = row("control")
    half = replace(row("arm"), samples=[halved(sample) for sample in row("arm").samples])
    found = event_values([whole, half], "qoverpt_r68", np.random.default_rng(0))
    spread = (found["arm"].mean(axis=1) - found["control"].mean(axis=1)).std()
    # The halves of a sample: Var(half - whole) = Var(half) - Var(whole), and r68 of T normal
    # tracks has the relative variance q (1 - q) / T / (2 f(1))^2; the seeds share no error.
    variance = 0.6827 * 0.3173 / 400 / (2 * stats.norm.pdf(1)) ** 2 / 3
    assert spread == pytest.approx(np.sqrt(variance), rel=0.3)


@pytest.mark.parametrize("metric", ["qoverpt_r68", "eta_abs68", "gap"])
def test_an_arm_cannot_win_by_dropping_tracks(metric: str) -> None:
    whole = row("control")
    half = replace(row("arm"), samples=[halved(sample) for sample in row("arm").samples])
    effect = compared_with(whole, half, metric)
    assert effect.verdict is None
    assert "judged on other tracks, 50% of all are common" in effect.note


def test_a_few_other_tracks_are_allowed_but_for_losses() -> None:
    """As of a backbone that finds some tracks more at another threshold."""
    whole, samples = row("control"), row("arm").samples
    few = replace(
        row("arm"), samples=[taken(one, np.arange(len(one.tracks)) % 50 != 0) for one in samples]
    )
    assert compared_with(whole, few, "qoverpt_r68").verdict is not None
    assert compared_with(whole, few, "gap").note == OTHER_TRACKS


def compared_with(control: HeadRow, arm: HeadRow, metric: str) -> Effect:
    (effect,) = find_effects(
        [control, arm], DesignConfig(metrics=[metric]), [], {}, np.random.default_rng(0)
    )
    return effect


def test_a_metric_of_another_version_is_named() -> None:
    with pytest.raises(UserError, match=r"design\.metrics: qoverpt_r90 is no metric"):
        compared_with(row("control"), row("arm"), "qoverpt_r90")


def test_all_heads_without_information_are_named() -> None:
    note = compared_with(row("control", width=1.5), row("arm", width=1.5), "qoverpt_r68").note
    assert note == f"arm and control: {NO_INFORMATION}"


def taken(sample: Sample, rows: np.ndarray) -> Sample:
    return replace(sample, tracks=sample.tracks.take(rows), common=sample.common[rows])


def halved(sample: Sample) -> Sample:
    return taken(sample, np.arange(len(sample.tracks)) % 2 == 0)


@pytest.mark.parametrize(
    ("design", "m"),
    [({}, 2), ({"comparisons": 7}, 7), ({"metrics": ["qoverpt_r68", "eta_abs68"]}, 4)],
)
def test_the_number_of_comparisons_is_that_of_the_design(design: Mapping[str, Any], m: int) -> None:
    rows = [row("control"), row("a"), row("b")]
    effects = find_effects(rows, DesignConfig(**design), [], {}, np.random.default_rng(0))
    assert {e.verdict.comparisons for e in effects if e.verdict} == {m}
    assert len(effects) == len(design.get("metrics", [0])) * 2


def test_a_path_compares_each_with_the_one_before(tmp_path: Path) -> None:
    built = build(tmp_path, [CONTROL, WORSE, SAME], {"kind": "path"})
    assert [(e.arm, e.control) for e in built.effects] == [("arm1", "arm0"), ("arm2", "arm1")]
    assert [e.verdict.word for e in built.effects if e.verdict] == ["worse", "better"]


def test_without_information_nothing_is_said_of_pt_but_of_eta(tmp_path: Path) -> None:
    blind = {10 + s: 1.5 + 0.1 * s for s in range(5)}
    design = {"metrics": ["qoverpt_r68", "charge_misid", "eta_abs68"]}
    built = build(tmp_path, [CONTROL, blind], design)
    by_metric = {effect.metric: effect for effect in built.effects}
    for name in ("qoverpt_r68", "charge_misid"):
        assert by_metric[name].verdict is None
        assert by_metric[name].note == f"arm1: {NO_INFORMATION}"
    assert by_metric["eta_abs68"].verdict is not None
    assert by_metric["eta_abs68"].verdict.word == "worse"


@pytest.mark.parametrize(("longer", "blamed"), [(0, "arm0"), (1, "arm1")])
def test_only_the_arm_that_has_not_converged_is_blamed(
    tmp_path: Path, longer: int, blamed: str
) -> None:
    """The recipes differ in dropout; one of them is a tenth better with twice the steps."""
    write_cache(tmp_path, "cache")
    arms = [CONTROL, WORSE]
    heads = [asdict(MLPHeadConfig(dropout=dropout)) for dropout in (0.1, 0.0)]
    for number, (widths, head) in enumerate(zip(arms, heads, strict=True)):
        for sweep, steps, factor in (("s", 3200, 1.0), ("longer", 6400, 0.9)):
            if sweep == "s" or number == longer:
                write_toy_job(
                    tmp_path / "sweeps" / sweep / "jobs" / str(number),
                    {seed: width * factor for seed, width in widths.items()},
                    labels={"arm": f"arm{number}"},
                    config={"optim": {"steps": steps, "lr": 0.08}, "head": head},
                )
    effect = only(build_report(tmp_path / "sweeps" / "s", tmp_path, toy_score))
    assert effect.verdict is None
    assert effect.note == f"{blamed}: not converged"


def test_a_single_seed_decides_nothing(tmp_path: Path) -> None:
    effect = only(build(tmp_path, [{0: 0.1}, {0: 0.2}]))
    assert effect.verdict is not None
    assert effect.verdict.word == "undecided"
    assert "fewer than two seeds" in effect.verdict.reason


def test_a_failed_arm_is_named(tmp_path: Path) -> None:
    built = build(tmp_path, [CONTROL, {0: None, 1: None}])
    assert only(built).note == "arm1 has no finished member"


def test_folds_are_compared_block_by_block(tmp_path: Path) -> None:
    write_cache(tmp_path, "cache")
    sweep, number = tmp_path / "sweeps" / "cv", 0
    rng, widths = np.random.default_rng(0), {}
    for arm, width in (("a", 0.1), ("b", 0.15)):
        for seed in range(2):
            for fold in range(3):
                widths[arm, seed, fold] = width * (1 + 0.05 * rng.normal())
                write_toy_job(
                    sweep / "jobs" / str(number),
                    {0: widths[arm, seed, fold]},
                    labels={"arm": arm},
                    overrides=[f"arm={arm}"],
                    split={"folds": 3, "fold": fold, "seed": seed},
                )
                number += 1
    built = build_report(sweep, tmp_path, toy_score)
    verdict = only(built).verdict
    assert verdict is not None
    d = [np.log(widths["b", s, f] / widths["a", s, f]) for s in range(2) for f in range(3)]
    assert verdict.delta == pytest.approx(np.mean(d), abs=0.002)
    expected = np.sqrt((1 / 6 + 1 / 2) * np.var(d, ddof=1))
    assert verdict.se_seeds == pytest.approx(expected, rel=0.02)
    assert (verdict.word, verdict.test) == ("worse", "Nadeau-Bengio")
    assert [one.convergence() for one in built.fairness] == ["not checked"] * 2


def test_every_margin_is_of_a_metric_that_can_be_compared(tmp_path: Path) -> None:
    on_test = {SCORED_LOSSES["test"], LAST_LOSSES["test"]}  # only of a report that reads it
    names = [name for name in MARGINS if name not in on_test]
    scalars = [name for name in names if name not in METRICS]
    assert set(scalars) == {
        *("gap", "loss_at_10pct", "dev_loss", "last_dev_loss", "train_loss", "last_val_loss"),
    }
    built = build(tmp_path, [CONTROL, WORSE], {"metrics": names})
    assert [effect.metric for effect in built.effects] == names
    assert all(effect.verdict is not None for effect in built.effects)
    for effect in built.effects:
        assert effect.verdict is not None
        assert (effect.verdict.se_events is None) == (effect.metric in scalars)


def row(
    label: str,
    *,
    scalars: Mapping[str, float] | None = None,
    width: float = 0.1,
    clipped: float = 0.0,
    target: str = "plain",
    loss: Mapping[str, Any] | None = None,
) -> HeadRow:
    """A head whose rho is normal, on 400 tracks; three seeds."""
    n = np.arange(400)
    truth = np.stack([n / 400, n / 400, 10.0 + n, np.where(n % 2, 1.0, -1.0)], axis=1)
    known = {"gap": 1.5, "last_dev_loss": 0.2, "loss_at_10pct": 0.4, **(scalars or {})}
    samples = []
    for seed in range(3):
        tracks = Tracks.from_estimate(n, truth, smear(truth, width, seed))
        values = {name: value * (1 + 0.001 * seed) for name, value in known.items()}
        tracks = replace(tracks, clipped=n < 400 * clipped)
        samples.append(Sample(tracks, np.ones(400, dtype=bool), values, Block(0, 0), seed))
    return make_head_row(
        label, samples, loss=loss_key({"target": {"name": target}, "loss": loss or {}})
    )


def compared(arm: HeadRow, metric: str, planned: int = 0) -> Effect:
    control = row("control")
    design = DesignConfig(metrics=[metric])
    rng = np.random.default_rng(0)
    (effect,) = find_effects([control, arm], design, [], {}, rng, planned)
    return effect


@pytest.mark.parametrize(
    ("metric", "arm", "note"),
    [
        ("pt_rmse", {"clipped": 0.02}, "arm: more than 1% of its pT are clipped"),
        ("pt_rmse", {"clipped": 0.005}, ""),
        ("last_dev_loss", {"target": "log_pt"}, "losses of different targets"),
        ("last_dev_loss", {"target": "plain"}, ""),
        ("last_dev_loss", {"loss": {"name": "quantile"}}, "losses of different targets or kinds"),
        ("last_dev_loss", {"loss": {"weights": {"pt": 2.0}}}, "targets or kinds"),
        ("last_dev_loss", {"loss": {"name": "gaussian"}}, "a log-likelihood has no zero"),
        ("gap", {"loss": {"name": "gaussian"}}, "a log-likelihood has no zero"),
        ("gap", {"loss": {"name": "quantile"}}, ""),
        ("qoverpt_r68", {"loss": {"name": "gaussian"}}, ""),
        ("gap", {"target": "log_pt"}, ""),
        ("gap", {"scalars": {"gap": 1.0}}, ""),
        ("gap", {"scalars": {"gap": 1.0}, "target": "log_pt"}, "different targets"),
        ("gap", {"scalars": {"gap": 1.0, "last_dev_loss": 0.3}}, "its loss may be worse"),
        ("gap", {"scalars": {"gap": 2.0, "last_dev_loss": 0.3}}, ""),
        ("loss_at_10pct", {"scalars": {"loss_at_10pct": math.nan}}, "arm"),
    ],
)
def test_what_a_metric_asks_for_before_a_verdict(
    metric: str, arm: Mapping[str, Any], note: str
) -> None:
    effect = compared(row("arm", **arm), metric)
    assert note in effect.note
    assert (effect.note == "") == (note == "")
    assert (effect.verdict is None) == (note != "")


def test_intervals_allow_for_configurations_that_are_not_there_yet() -> None:
    verdict = compared(row("arm"), "qoverpt_r68", planned=7).verdict
    assert verdict is not None
    assert verdict.comparisons == 6
