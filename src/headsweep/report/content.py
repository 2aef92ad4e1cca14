"""The content of a report, which the page, the Markdown and the JSON show."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, Literal

import orjson
import pandas as pd

from headsweep.report.claims import ClaimResult
from headsweep.report.comparisons import Effect
from headsweep.report.confirmation import Confirmation
from headsweep.report.distributions import Distribution, ResolutionMap
from headsweep.report.failures import shortfall
from headsweep.report.fairness import Fairness
from headsweep.report.predictions import HeadRow
from headsweep.report.provenance import Origin
from headsweep.report.seed_average import Agreement, SeedAverage
from headsweep.report.training_comparison import TrainingComparison
from headsweep.report.values import WHOLE, Value
from headsweep.stats.metrics import qoverpt_r68
from headsweep.stats.resolution_fit import ResolutionFit
from headsweep.store.ledger import Readings
from headsweep.store.trials import Trials

REPORT_SCHEMA = 11
"""Version of ``report.json``."""


@dataclass(frozen=True)
class HeadSummary:
    """The facts of a configuration beside its metrics, see ``predictions.HeadRow``.

    Attributes:
        label: Its name.
        finished: Members in the figures.
        planned: Members that it has or will have.
        failed: Members that failed; all others are not trained yet.
        shortfall: Both in words; empty where all are finished.
        problems: A line for each reason for which members are not in the figures.
        parameters: Trained parameters.
        flops: Operations of one prediction.
        seconds: Time of its jobs.
        inputs: What the backbone gave it, in words.
        loss: What its losses are of, see ``labels.LossKey``.
        r68: ``qoverpt_r68`` of each finished member.
        jobs: Names of the folders of its jobs.
        kind: ``head``.
    """

    label: str
    finished: int
    planned: int
    failed: int
    shortfall: str
    problems: tuple[str, ...]
    parameters: int
    flops: float
    seconds: float
    inputs: str
    loss: str
    r68: tuple[float, ...]
    jobs: tuple[str, ...] = ()
    kind: Literal["head"] = "head"

    @classmethod
    def of(cls, row: HeadRow, jobs: Sequence[str]) -> "HeadSummary":
        """Of a scored configuration and the folders of its jobs."""
        own = ("finished", "failed", "shortfall", "r68", "jobs", "kind")
        shared = {f.name: getattr(row, f.name) for f in fields(cls) if f.name not in own}
        r68 = tuple(qoverpt_r68(sample.tracks) for sample in row.samples)
        return cls(
            finished=len(row.samples),
            failed=len(row.failed),
            shortfall=shortfall(row),
            r68=r68,
            jobs=tuple(jobs),
            **shared,
        )


@dataclass(frozen=True)
class ReferenceSummary:
    """The facts of a reference beside its metrics.

    Attributes:
        label: Its name, with the configuration where several have their own.
        reference: ``constant predictor``, ``analytic estimate`` or ``classical reference``.
        usable: Share of the tracks that have an estimate.
        kind: ``reference``.
    """

    label: str
    reference: str
    usable: float
    kind: Literal["reference"] = "reference"


@dataclass(frozen=True)
class Report:
    """Everything that the page, the Markdown and the JSON of a sweep show.

    Attributes:
        name: Name of the sweep.
        heads: The configurations.
        references: The references.
        values: Every figure.
        curves: Learning curves: label, step, and train_loss and val_loss each as mean, low and
            high over the members.
        fits: Resolution fits by label, all on the tracks that every reference can use.
        pt_edges: Quoted pT bins, GeV.
        min_bin_tracks: A bin with fewer tracks will never get a verdict.
        not_modelled: What the sample leaves out.
        notes: How to read the figures.
        origin: The question, and where the figures come from.
        split: The scored split, ``dev`` or ``test``; its losses are named by it.
        design: Kind of the comparisons, see ``DesignConfig``.
        agreement: How many tracks all seeds get wrong.
        averages: Averages of the seeds; no part of any verdict.
        distributions: Of rho in each bin of pT, and of pulls where heads give an uncertainty.
        maps: r68 of each configuration in bins of pT and |eta|.
        effects: The comparisons of the design; none of a search, whose rows were chosen by the
            figures, and of a single configuration.
        fairness: What is known of rates and convergence of each configuration.
        trainings: Those of the other configurations compared with those of the first.
        search: All trials, where the configurations are the best of a search.
        readings: Who has read this test sample before; None on dev.
        confirmation: Optimism of the search that was confirmed, and shifts from val.
        claims: The tested claims, of a design of that kind; their comparisons are ``effects``.
        absent: Jobs of the sweep, number and label, of which there is nothing to show, each with
            the reason why it failed; empty where it is not trained yet.
        same: Label of each configuration that is equal to another one, which counts for both.
    """

    name: str
    heads: list[HeadSummary]
    references: list[ReferenceSummary]
    values: list[Value]
    curves: pd.DataFrame
    fits: dict[str, ResolutionFit]
    pt_edges: list[float]
    min_bin_tracks: int
    not_modelled: list[str]
    notes: list[str]
    origin: Origin
    split: str
    design: str = "control"
    agreement: list[Agreement] = field(default_factory=list)
    averages: list[SeedAverage] = field(default_factory=list)
    distributions: list[Distribution] = field(default_factory=list)
    maps: list[ResolutionMap] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    fairness: list[Fairness] = field(default_factory=list)
    trainings: list[TrainingComparison] = field(default_factory=list)
    search: Trials | None = None
    readings: Readings | None = None
    confirmation: Confirmation | None = None
    claims: list[ClaimResult] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    same: dict[str, str] = field(default_factory=dict)

    @property
    def rows(self) -> list[HeadSummary | ReferenceSummary]:
        """Configurations, then references."""
        return [*self.heads, *self.references]

    @property
    def partial(self) -> bool:
        """True if a reference cannot use all tracks: it stands on those of all references only."""
        return any(row.usable < 1 for row in self.references)

    @property
    def on(self) -> str:
        """The split for a title, with how often it was read before; empty for dev."""
        return "" if self.readings is None else f" on {self.split}, {self.readings.words()}"

    @property
    def common(self) -> str:
        """The tracks on which configurations stand beside references, with their share."""
        counts = [
            [self.get(row.label, "qoverpt_r68", axis)[0].tracks for axis in reversed(WHOLE)]
            for row in self.heads
            if row.finished
        ]
        shares = dict.fromkeys(f"{common / total:.1%}" for common, total in counts if total)
        return f"the {' / '.join(shares) or 'tracks'} of the tracks that every reference can use"

    def get(self, label: str, metric: str, axis: str = "all") -> list[Value]:
        """A metric in each bin of an axis, in their order.

        Empty without finished members, and of a reference on tracks that it cannot use.
        """
        return self._index.get((label, metric, axis), [])

    @cached_property
    def _index(self) -> dict[tuple[str, str, str], list[Value]]:
        found: dict[tuple[str, str, str], list[Value]] = {}
        for value in self.values:
            found.setdefault((value.label, value.metric, value.axis), []).append(value)
        return found

    def frame(self) -> pd.DataFrame:
        """All figures as a table: label, metric, axis, low, high, tracks, mean, half, n."""
        return pd.DataFrame([_flat(value) for value in self.values])

    def to_json(self) -> str:
        """All of it; NaN and infinity are null. The trials of a search are one long line."""
        plain = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
        content = {
            "schema": REPORT_SCHEMA,
            **{f.name: getattr(self, f.name) for f in fields(self)},
            "values": [_flat(value) for value in self.values],
            "curves": self.curves.to_dict("records"),
            "search": orjson.Fragment(orjson.dumps(self.search, option=plain)),
        }
        # Python's json takes seconds for 10,000 trials.
        option = plain | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        return orjson.dumps(content, option=option).decode()


def _flat(value: Value) -> dict[str, Any]:
    row: dict[str, Any] = asdict(value)
    estimate: dict[str, Any] = row.pop("estimate")
    return row | estimate
