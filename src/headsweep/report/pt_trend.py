"""The change of r68 of q/pT from low to high pT: the lowest and the highest two quoted bins."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headsweep.errors import UserError
from headsweep.report.predictions import Row
from headsweep.report.resampling import OnRows, resampled
from headsweep.stats.bins import Bins, pt_axis
from headsweep.stats.bootstrap import Rows
from headsweep.stats.tracks import Array, Tracks
from headsweep.stats.widths import abs68


@dataclass(frozen=True)
class PtTrend:
    """The lowest and the highest two quoted pT bins that have enough tracks.

    Under- and overflow are never among them. Compared is the geometric mean of r68 in the highest
    two over that in the lowest two, so that each bin counts the same, whatever the pT spectrum.

    Attributes:
        pt_edges: Quoted edges in GeV.
        low: Numbers of two bins of ``bins.pt_axis``.
        high: The same of two bins above them.
    """

    pt_edges: tuple[float, ...]
    low: tuple[int, int]
    high: tuple[int, int]

    @classmethod
    def find(cls, row: Row, bins: Bins) -> "PtTrend":
        """The bins of a configuration's tracks, over all folds.

        Raises:
            UserError: Fewer than four quoted bins have enough tracks.
        """
        edges, fewest = bins.edges, bins.min_tracks
        counts = np.bincount(pt_axis(edges).index(row.pooled()[0].tracks))
        enough = [b for b in range(1, min(len(counts), len(edges))) if counts[b] >= fewest]
        if len(enough) < 4:
            raise UserError(
                f"{len(enough)} of {len(edges) - 1} quoted pT bins have {fewest} tracks or "
                "more; the lowest and the highest two of four are needed"
            )
        return cls(edges, (enough[0], enough[1]), (enough[-2], enough[-1]))

    def text(self) -> str:
        """The edges in words."""
        low, high = (
            " and ".join(f"{self.pt_edges[b - 1]:g}–{self.pt_edges[b]:g}" for b in pair)
            for pair in (self.low, self.high)
        )
        return f" ({high} against {low} GeV)"

    def ratio(self, rho: Array, bin_: NDArray[np.int64]) -> Array:
        """r68 of the high bins over that of the low ones.

        Args:
            rho: Relative errors of q/pT, [..., T].
            bin_: Bin of each track, [T].

        Returns:
            The ratio over the last axis, [...]; NaN where a bin is empty.
        """
        logs = {b: np.log(abs68(rho[..., bin_ == b])) for b in (*self.low, *self.high)}
        high, low = (sum(logs[b] for b in pair) / 2 for pair in (self.high, self.low))
        ratio: Array = np.exp(np.asarray(high - low))
        return ratio

    def index(self, tracks: Tracks) -> NDArray[np.int64]:
        """Bin of each track, [T]."""
        return pt_axis(self.pt_edges).index(tracks)

    def values(self, row: Row) -> Array:
        """The ratio of each member, [n]."""
        return np.array([self.ratio(s.tracks.rho, self.index(s.tracks)) for s in row.samples])

    def event_values(self, rows: Sequence[Row], rng: np.random.Generator) -> dict[str, Array]:
        """Log ratio of each member on resampled events, as ``resampling.event_values``."""

        def statistic(samples: Sequence[Tracks]) -> OnRows:
            rho, bin_ = np.stack([tracks.rho for tracks in samples]), self.index(samples[0])

            def values(drawn: Rows) -> Array:
                return self.ratio(rho[:, drawn], bin_[drawn])

            return values

        tables = resampled(rows, statistic, rng)
        return {label: np.log(table) for label, table in tables.items()}
