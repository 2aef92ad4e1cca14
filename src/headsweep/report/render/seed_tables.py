"""Tables of what the seeds of a configuration have in common."""

from headsweep.report.content import Report
from headsweep.report.render.tables import Table, factor_of, words_of
from headsweep.report.seed_average import AVERAGED, RESAMPLES
from headsweep.stats.metrics import OUTLIER

AVERAGE_NOTE = (
    "Averaged: the mean of q/pT and of eta and the circular mean of phi over the seeds, for each "
    "track; the charge is the sign of the mean q/pT. q/pT is averaged and not the outputs of the "
    "target, as its error is what is measured, and a track whose charge is disputed becomes "
    f"straight. ±: 95% from {RESAMPLES} resamples of events. Behind it: the change against the "
    "mean of single seeds, on the same resamples, in percent or percentage points. Both hold for "
    "these very seeds; they are no verdict over new ones."
)

AGREEMENT_NOTE = (
    "Tracks that all seeds get wrong are hard for the head, whatever its initial weights; the rest "
    "of the errors of one seed is scatter, of which an average gets rid. On all tracks."
)


def average_table(report: Report) -> Table:
    """Each head as one seed and as the average of its seeds."""
    rows = []
    for found in report.averages:
        rows.append([f"{found.label}, one seed", f"mean of {found.seeds}"])
        rows.append([f"{found.label}, averaged", f"{found.seeds}"])
        for figure in found.figures:
            factor = factor_of(figure.metric)
            rows[-2].append(f"{figure.single * factor:.4g}")
            rows[-1].append(f"{figure.averaged.text(factor)}, {figure.change.text(factor)}")
    units = {name: " [%]" if factor_of(name) == 100 else "" for name in AVERAGED}
    columns = ["", "seeds", *(f"{words_of(name)}{unit}" for name, unit in units.items())]
    return Table(f"Average of the seeds{report.on}, all tracks", columns, rows, AVERAGE_NOTE)


def agreement_table(report: Report) -> Table:
    """Shares of the tracks that all seeds get wrong."""
    rows = [
        [
            found.label,
            f"{found.seeds}",
            *(
                f"{100 * share:.3g}"
                for share in (found.wrong_charge, found.one_wrong_charge, found.far, found.one_far)
            ),
        ]
        for found in report.agreement
    ]
    far = f"|rho| > {OUTLIER:g}"
    columns = ["", "seeds", "wrong charge in all [%]", "in one [%]"]
    columns += [f"{far} in all [%]", "in one [%]"]
    return Table(f"Do the seeds agree{report.on}?", columns, rows, AGREEMENT_NOTE)
