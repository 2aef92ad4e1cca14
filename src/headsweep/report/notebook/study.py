"""Results of a search for notebooks: its trials, importances, contours and Pareto front."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from headsweep.errors import UserError
from headsweep.report.notebook import importance, search_plots
from headsweep.report.render import matplotlib_renderer
from headsweep.report.render.search_picture import search
from headsweep.store import runs
from headsweep.store.trials import Trials, usable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Study:
    """The trials of a search, finished or not, all on the split ``val``.

    Args:
        folder: The folder of the sweep.

    Attributes:
        folder: The folder of the sweep.
        trials: Its finished trials.

    Raises:
        UserError: The sweep is no search.
    """

    def __init__(self, folder: Path) -> None:
        trials = Trials.read(folder)
        if trials is None:
            raise UserError(f"{folder.name} is no search; members() has its trainings")
        self.folder = folder
        self.trials = trials

    def progress(self) -> str:
        """Number of the finished trials, and how many of them are of use."""
        done = self.trials.outcomes
        return f"{len(done)} of {self.trials.total} trials are done, {usable(done)}"

    def best(self) -> pd.DataFrame:
        """The best trials by the first objective.

        One row for each: the searched parameters, ``params_total``, and ``mean`` and ``std`` of the
        objective over the seeds.
        """
        members = runs.frame(self.folder)
        groups = members[members["status"] == "finished"].groupby("job")
        chosen = list(importance.read_space(self.folder))
        table = groups[[*chosen, "params_total"]].first()
        table[["mean", "std"]] = groups[self.trials.objectives[0]].agg(["mean", "std"])
        return table.loc[self.trials.first().best()]

    def history(self) -> "Figure":
        """Picture of the first objective of each trial by its number, with the best so far."""
        return matplotlib_renderer.draw(search(self.trials.first()))

    @cached_property
    def importances(self) -> importance.Importances:
        """Importance of each parameter with its interval; ``table`` and ``note()`` tell it.

        Raises:
            UserError: There are too few trials.
        """
        rng = np.random.default_rng(0)
        return importance.importances(self.trials, importance.read_space(self.folder), rng)

    def importance_figure(self) -> "Figure":
        """Picture of the importances."""
        return search_plots.importance_figure(self.importances)

    def contours(self) -> "Figure":
        """Picture of the first objective over each pair of searched numbers."""
        return search_plots.contour_figure(self.trials, importance.read_ranges(self.folder))

    @cached_property
    def _against_size(self) -> Trials:
        return self.trials.against(self.folder)

    def accuracy_against_size(self) -> "Figure":
        """Picture of the first objective against the second, or against the parameters."""
        return matplotlib_renderer.draw(search(self._against_size))

    def front(self) -> pd.DataFrame:
        """Trials that no other one beats in both: their parameters and both objectives."""
        both = self._against_size
        front = pd.DataFrame({number: both.outcomes[number].params for number in both.best()}).T
        front[both.objectives] = [both.outcomes[number].values for number in both.best()]
        return front.infer_objects().sort_values(both.objectives[1])
