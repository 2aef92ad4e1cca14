"""The Python interface to the results of a sweep: tables, verdicts and figures.

A first look:

    import headsweep

    sweep = headsweep.open_sweep("presets", root="runs")
    print(sweep.answer)
    sweep.verdicts()
    sweep.figure("qoverpt_r68")
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from headsweep.errors import UserError
from headsweep.instantiate import allow as allow_modules
from headsweep.report.run import find_folder
from headsweep.store import paths, runs
from headsweep.store.trials import Trials

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from headsweep.report.content import Report
    from headsweep.report.notebook.probe import Probe
    from headsweep.report.notebook.study import Study
    from headsweep.report.render.tables import Table


def open_sweep(name: str, root: str | Path = "runs", allow: Sequence[str] = ()) -> "SweepResults":
    """Open the results of a sweep, finished or not.

    Nothing is scored before a figure is asked for.

    Args:
        name: Name of the sweep, or key of a single run, or the path of its folder.
        root: The folder of all output.
        allow: Modules of your own code that the sweep's heads, source or backbone may come from.

    Raises:
        UserError: There is no such sweep under the root.
    """
    allow_modules([*allow])
    folder = find_folder(Path(root), name)
    return SweepResults(folder, folder.parents[1])


class SweepResults:
    """Results of one sweep.

    ``members`` and ``search`` read what the trainings stored, on the split ``val``. All else is
    read from the report, which scores the saved weights on ``dev`` when it is first needed. The
    report of a confirmation scores on ``test``; each time, that goes into the ledger.

    Attributes:
        folder: The folder of the sweep.
        root: The folder of all output.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder
        self.root = root

    @property
    def name(self) -> str:
        """Name of the sweep."""
        return self.folder.name

    @cached_property
    def report(self) -> "Report":
        """The whole report, built when it is first used.

        Raises:
            UserError: No member is finished.
        """
        from headsweep.report.build import build_report

        return build_report(self.folder, self.root)

    @property
    def answer(self) -> str:
        """The answer of the report in one sentence."""
        from headsweep.report.render.verdict_tables import answer

        return answer(self.report)

    @property
    def recommendation(self) -> str:
        """Which head to take and why; or that no verdict says so."""
        from headsweep.report.render.recommendation import recommendation

        return recommendation(self.report)

    def members(self) -> pd.DataFrame:
        """One row for each trained member: a configuration and a seed.

        Columns: configuration, state, parameters and metrics on ``val``, see ``store.runs.frame``.
        """
        return runs.frame(self.folder)

    def table(self) -> pd.DataFrame:
        """One row for each figure of the report.

        Columns: ``label`` of the configuration or reference; ``metric``; ``axis`` with ``low`` and
        ``high`` edges of the bin (``all`` and NaN where it is not binned); number of ``tracks``;
        ``mean`` and ``half``-width of the 95% interval over ``n`` seeds.
        """
        return self.report.frame()

    def verdicts(self) -> pd.DataFrame:
        """One row for each comparison of the design, with a verdict or the reason for none.

        Columns: ``arm``, ``control``, ``metric``, ``verdict`` (``better``, ``worse``,
        ``equivalent``, ``undecided``, or None), ``delta`` (arm minus control, in ln on the scale
        ``log``), its 95% interval ``low`` to ``high``, the interval ``sim_low`` to ``sim_high``
        that allows for all ``comparisons`` and from which the verdict is read, ``margin``,
        ``scale``, ``p_value`` of no difference, ``n_arm``, ``n_control``, ``parameters`` (arm minus
        control) and ``note``.
        """
        return pd.DataFrame([effect.row() for effect in self.report.effects])

    def figures(self) -> "dict[str, Figure]":
        """Every picture of the report as a matplotlib figure, by name."""
        from headsweep.report.render import matplotlib_renderer, pictures

        return matplotlib_renderer.draw_all(pictures.all_pictures(self.report).values())

    def figure(self, name: str) -> "Figure":
        """One picture of the report as a matplotlib figure.

        Args:
            name: ``qoverpt_r68``, ``learning_curves``, ...; one of ``figures()``.

        Raises:
            UserError: The report has no such picture.
        """
        from headsweep.report.render import matplotlib_renderer, pictures

        found = pictures.all_pictures(self.report)
        if name not in found:
            raise UserError(f"{self.name} has no figure {name!r}; it has {', '.join(found)}")
        return matplotlib_renderer.draw_all([found[name]])[name]

    @property
    def search(self) -> pd.DataFrame:
        """One row for each finished trial of a search, on ``val``.

        Columns: ``trial``, ``state`` (``complete``, ``pruned``, ``failed``), ``origin`` of a trial
        that no sampler chose (``head=simpler``), each objective as its mean over the seeds, and
        each parameter that was searched.

        Raises:
            UserError: The sweep is no search.
        """
        trials = Trials.read(self.folder)
        if trials is None:
            raise UserError(f"{self.name} is no search; members() has its trainings")
        rows = [
            {
                "trial": number,
                "state": outcome.state,
                "origin": outcome.origin,
                **dict(zip(trials.objectives, outcome.values, strict=False)),
                **outcome.params,
            }
            for number, outcome in trials.outcomes.items()
        ]
        names = None if rows else ["trial", "state", "origin", *trials.objectives]
        return pd.DataFrame(rows, columns=names)

    def tables(self) -> "dict[str, Table]":
        """Every table of the report in words, by name: ``verdicts``, ``fairness``, ``main``, ...

        Each has a ``title``, a ``note`` on how to read it, and ``frame()``.
        """
        from headsweep.report.render.all_tables import named_tables

        return named_tables(self.report)

    def open_questions(self) -> list[str]:
        """A line for each comparison that is not decided: why, and what it would take."""
        from headsweep.report.render.verdict_tables import open_questions

        return open_questions(self.report)

    def study(self) -> "Study":
        """Closer look at a search: history, importances of its parameters, contours and front.

        Raises:
            UserError: The sweep is no search.
        """
        from headsweep.report.notebook.study import Study

        return Study(self.folder)

    def probe(self, job: int = 0) -> "Probe":
        """Linear read-out of the pooled features beside the head of a job.

        Args:
            job: Number of the job.
        """
        from headsweep.report.notebook.probe import Probe

        return Probe(paths.job_folder(self.folder, job), self.root)
