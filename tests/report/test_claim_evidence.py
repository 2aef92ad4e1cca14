"""The members that a look takes from the evidence on a part of a claim."""

import numpy as np
import pytest

from headsweep.report.claim_evidence import R68, Evidence, Terms
from headsweep.report.predictions import HeadRow, Sample
from headsweep.report.seed_looks import SeedLooks
from headsweep.stats.bins import Bins
from headsweep.stats.sequential import Looks
from headsweep.stats.tracks import Tracks
from headsweep.store.labels import Block
from helpers.head_rows import make_head_row

SEEDS, TRACKS = 8, 300


def head(label: str, width: float) -> HeadRow:
    """Eight seeds whose relative errors are normal."""
    rng = np.random.default_rng(len(label))
    truth = np.tile([0.0, 0.0, 10.0, 1.0], (TRACKS, 1))
    samples = []
    for seed in range(SEEDS):
        kappa = (1 + width * rng.normal(size=TRACKS)) / 10.0
        estimate = np.stack([truth[:, 0], truth[:, 1], 1 / np.abs(kappa), np.sign(kappa)], axis=1)
        tracks = Tracks.from_estimate(np.arange(TRACKS), truth, estimate)
        samples.append(Sample(tracks, np.ones(TRACKS, bool), {}, Block(0, 0), seed))
    return make_head_row(label, samples)


def test_a_look_takes_its_seeds_alone() -> None:
    arm, control = head("a", 0.1), head("control", 0.2)
    terms = Terms({}, Bins((5.0, 20.0), 1), 6, np.random.default_rng(0))
    whole = Evidence.collect(R68, arm, control, terms)
    until = SeedLooks(0, 4, SEEDS)
    looks, masks = next(until.available((arm, control)))
    first = whole.first(until, looks, masks, terms)
    assert [sample.seed for sample in first.arm.samples] == [0, 1, 2, 3]
    assert first.values["a"].tolist() == whole.values["a"][:4].tolist()
    assert first.events["control"].tolist() == whole.events["control"][:, :4].tolist()
    verdict, note = first.verdict(terms, looks)
    assert verdict is not None
    assert (note, verdict.n_arm, verdict.n_control) == ("", 4, 4)
    r68 = [[np.quantile(np.abs(s.tracks.rho), 0.6827) for s in r.samples] for r in (arm, control)]
    delta = np.log(r68[0][:4]).mean() - np.log(r68[1][:4]).mean()
    assert verdict.delta == pytest.approx(delta, rel=0.02)
    assert verdict.comparison.looks == Looks((4.0,), 8.0)
