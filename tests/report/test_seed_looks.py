"""The looks of seeds=auto, replayed from members: against the verdicts of their first seeds."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headsweep.config import DesignConfig
from headsweep.report.build import build_report
from headsweep.report.comparisons import Effect, find_effects
from headsweep.report.predictions import HeadRow, Sample
from headsweep.report.render.all_tables import named_tables
from headsweep.report.seed_looks import SeedLooks
from headsweep.stats.margins import Comparison
from headsweep.stats.sequential import Looks
from headsweep.stats.tracks import Tracks
from headsweep.stats.verdict import compare
from headsweep.store import specification
from headsweep.store.labels import Block
from helpers.head_rows import make_head_row
from helpers.toy_runs import toy_score, write_cache, write_toy_job

LOOKS = SeedLooks(first=0, every=5, most=60)
LOSS = "loss_at_10pct"
"""A metric that is compared without events."""


def row(label: str, values: Sequence[float], failed: Sequence[int] = ()) -> HeadRow:
    """A configuration with these losses, of seed 0, 1, ..; some seeds have failed."""
    n = 40
    truth = np.stack([np.zeros(n), np.zeros(n), np.full(n, 10.0), np.ones(n)], axis=1)
    tracks = Tracks.from_estimate(np.arange(n), truth, truth)
    samples = [
        Sample(tracks, np.ones(n, bool), {LOSS: value}, Block(0, 0), seed)
        for seed, value in enumerate(values)
    ]
    lost = tuple(s for s in samples if s.seed in failed)
    kept = [s for s in samples if s.seed not in failed]
    return make_head_row(label, kept, failed=lost, planned=len(samples))


def draw(mean: float, seed: int, n: int = 60) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).normal(mean, 0.06, n))


def only(rows: Sequence[HeadRow]) -> Effect:
    rng = np.random.default_rng(0)
    design = DesignConfig(metrics=[LOSS])
    (effect,) = find_effects(rows, design, [], {}, rng, until=LOOKS)
    return effect


def first_decision(arm: np.ndarray, control: np.ndarray) -> tuple[str, int]:
    """The design of the statistics page, written out: the first look that is not undecided."""
    word, n = "", 0
    for n in range(5, min(len(arm), len(control)) + 1, 5):
        looks = Looks(tuple(float(k) for k in range(5, n + 1, 5)), 60.0)
        word = compare(arm[:n], control[:n], Comparison(np.log(1.05), looks=looks)).word
        if word != "undecided":
            break
    return word, n


@pytest.mark.parametrize("mean", [0.0, 0.04, 0.08, 0.3])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_first_look_that_decides_gives_the_verdict(mean: float, seed: int) -> None:
    arm, control = draw(mean, seed), draw(0.0, 100 + seed)
    effect = only([row("control", control), row("arm", arm)])
    assert effect.verdict is not None
    looks = effect.verdict.comparison.looks
    assert looks is not None
    assert (effect.verdict.word, looks.sizes[-1]) == first_decision(arm, control)
    assert effect.verdict.n_arm == effect.verdict.n_control == looks.sizes[-1]


def test_more_seeds_of_the_control_change_no_verdict() -> None:
    arm, control = draw(0.3, 0, n=10), draw(0.0, 1)
    short, long = (only([row("c", control[:n]), row("a", arm)]) for n in (10, 60))
    assert short == long


def test_a_look_waits_for_all_of_its_seeds() -> None:
    control = draw(0.0, 1)
    effect = only([row("c", control), row("a", draw(0.02, 0, n=4))])
    assert (effect.verdict, effect.note) == (None, "its first look takes 5 seeds each")
    found = only([row("c", control), row("a", draw(0.02, 0, n=9))]).verdict
    assert found is not None
    assert found.comparison.looks == Looks((5.0,), 60.0)


def test_failed_seeds_count_as_there() -> None:
    arm = replace(row("a", draw(0.0, 0, n=5), failed=[2]), samples=row("a", draw(0, 0, 5)).samples)
    [(looks, masks)] = LOOKS.available([arm])
    assert looks.sizes == (5.0,)
    assert masks[0].all()
    assert [s.seed for s in LOOKS.first_members(arm, looks).failed] == [2]


@pytest.mark.parametrize(("every", "most", "sizes"), [(5, 12, [5, 10, 12]), (4, 4, [4])])
def test_the_last_look_is_at_all_seeds(every: int, most: int, sizes: list[int]) -> None:
    looks = SeedLooks(3, every, most)
    assert looks.sizes() == sizes
    assert [looks.next_size(n) for n in [0, *sizes[:-1]]] == sizes
    assert SeedLooks.of({"seed": 3, "looks": {"every": every, "most": most}}) == looks
    assert SeedLooks.of({"seed": 3}) is None


@pytest.mark.slow
def test_a_report_reads_the_looks_of_its_sweep(tmp_path: Path) -> None:
    """Toy errors differ by their width alone, so that events do not matter."""
    write_cache(tmp_path, "cache")
    folder = tmp_path / "sweeps/s"
    for number, n in enumerate((6, 4)):
        widths = {s: (0.1 + 0.05 * number) * (1 + 0.01 * (s % 3)) for s in range(n)}
        labels = {"head": f"h{number}"}
        write_toy_job(
            folder / f"jobs/{number}", widths, labels=labels, overrides=[f"head=h{number}"]
        )
    looks = {"every": 2, "most": 6}
    design = {"kind": "control", "metrics": ["qoverpt_r68"], "split": "dev"}
    specification.claim_sweep(folder, {"seed": 0, "seeds": 2, "design": design, "looks": looks})
    report = build_report(folder, tmp_path, toy_score)
    (effect,) = report.effects
    assert effect.verdict is not None
    assert effect.verdict.word == "worse"
    assert effect.verdict.comparison.looks == Looks((2.0,), 6.0)
    table = named_tables(report)["looks"]
    assert [line[1:4] for line in table.rows] == [["1", "–", "2"]]
    assert "fixed before the sweep ran (seeds=auto)" in table.note


def test_later_seeds_of_the_control_do_not_take_a_decision_back() -> None:
    """Its seeds from the sixth on know no charge; the first look, at five, has decided."""
    n = 40
    truth = np.stack([np.zeros(n), np.zeros(n), np.full(n, 10.0), np.ones(n)], axis=1)

    def head(label: str, error: float, seeds: int, blind_from: int = 60) -> HeadRow:
        samples = []
        for seed in range(seeds):
            charge = -1.0 if seed >= blind_from else 1.0
            own = truth * [1, 1, 1 + error + 0.001 * (seed % 3), charge]
            tracks = Tracks.from_estimate(np.arange(n), truth, own)
            samples.append(Sample(tracks, np.ones(n, bool), {}, Block(0, 0), seed))
        return make_head_row(label, samples)

    words = []
    for seeds in (5, 30):
        rows = [head("c", 0.1, seeds, blind_from=5), head("a", 0.3, 5)]
        rng, design = np.random.default_rng(0), DesignConfig()
        (effect,) = find_effects(rows, design, [], {}, rng, until=LOOKS)
        words.append(effect.verdict.word if effect.verdict else effect.note)
    assert words == ["worse", "worse"]
