"""A linear read-out of the pooled features beside one trained head, for notebooks."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from headsweep.features.cache import FeatureSet
from headsweep.report import scoring
from headsweep.report.notebook import linear_probe, track_plots
from headsweep.stats.metrics import evaluate
from headsweep.stats.tracks import Tracks
from headsweep.store import runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Probe:
    """Lines through the pooled features, and the head of a job with its first seed, on ``val``.

    Args:
        job: The folder of the job, which gives the data and the head.
        root: The folder of all output.
    """

    def __init__(self, job: Path, root: Path) -> None:
        self.job = job
        self.root = root

    @cached_property
    def sets(self) -> dict[str, FeatureSet]:
        """The frozen features with the hit features ``document`` and ``bending``.

        Those that are missing are made, which runs the backbone.

        Raises:
            UserError: The folder is no job, or the source has no such features.
        """
        return linear_probe.feature_sets(self.job, self.root)

    @property
    def pt_edges(self) -> list[float]:
        """Quoted bins of pT in GeV."""
        return self.sets["bending"].meta.pt_edges

    def sizes(self) -> pd.DataFrame:
        """Number of tracks of each split, one column for each kind of features."""
        return pd.DataFrame({name: cache.meta.n_tracks for name, cache in self.sets.items()})

    @cached_property
    def head(self) -> Tracks:
        """Scored tracks of the head."""
        tracks, _ = scoring.score(self.job, int(self._member["seed"]), "val", self.root)
        return tracks

    @cached_property
    def _member(self) -> dict[str, Any]:
        """Configuration and results of the job with its first seed."""
        return {str(key): value for key, value in runs.frame(self.job).iloc[0].items()}

    @cached_property
    def estimates(self) -> dict[str, Tracks]:
        """Scored tracks of each line and of the head, by a name in words."""
        member = self._member
        return {
            "document, line": linear_probe.read_out(self.sets["document"]),
            "bending, line": linear_probe.read_out(self.sets["bending"]),
            "encoded hits, line": linear_probe.read_out(self.sets["bending"], "encoded"),
            f"head {member['head']}, {member['features.name']}": self.head,
        }

    def metrics(self) -> pd.DataFrame:
        """``qoverpt_r68`` and ``charge_misid`` of each estimate."""
        names = ["qoverpt_r68", "charge_misid"]
        return pd.DataFrame({key: evaluate(own, names) for key, own in self.estimates.items()}).T

    def figure(self) -> "Figure":
        """Picture of both metrics against pT."""
        return track_plots.read_out_figure(self.estimates, self.pt_edges)

    def correlations(self, strongest: int = 5) -> pd.DataFrame:
        """The pooled features that go most with q/pT on training, for each kind of features.

        Args:
            strongest: How many of each kind.
        """
        found = {name: linear_probe.correlations(cache) for name, cache in self.sets.items()}
        return pd.concat({name: table.head(strongest) for name, table in found.items()})

    def residuals(self) -> pd.DataFrame:
        """Relative error ``rho`` of the head for each track, with its bin of pT (GeV)."""
        return linear_probe.residuals(self.head, self.pt_edges)

    def residual_figure(self) -> "Figure":
        """Picture of the distribution of the relative error in each bin of pT."""
        return track_plots.residual_figure(self.head, self.pt_edges)
