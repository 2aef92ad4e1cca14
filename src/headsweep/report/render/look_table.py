"""An exploratory look at one more metric (``headsweep report NAME --metric M``)."""

from headsweep.errors import UserError
from headsweep.report.content import Report
from headsweep.report.render import tables
from headsweep.report.render.tables import Table
from headsweep.stats.metrics import LAST_LOSSES

NOTE = (
    "Exploratory: chosen after figures were seen, so there is no verdict, and the intervals allow "
    "for one look only. A new sweep with design.metrics can test it."
)


def check_metric(metric: str) -> None:
    """Refuse what is no metric of a report.

    Raises:
        UserError: It is none; the message has all names.
    """
    if metric not in tables.KNOWN:
        names = ", ".join(sorted(tables.KNOWN))
        raise UserError(f"--metric {metric}: no such metric; one of {names}")


def look_table(report: Report, metric: str) -> Table:
    """The metric of every row, and its change from the first configuration.

    Raises:
        UserError: It is a loss on another split than the report's.
    """
    own = LAST_LOSSES[report.split]
    if metric in LAST_LOSSES.values() and metric != own:
        raise UserError(f"--metric {metric}: this report reads {report.split}; its loss is {own}")
    first = report.heads[0].label
    control = report.get(first, metric)
    factor = tables.factor_of(metric)
    ratio = tables.KNOWN[metric].scale == "log"
    rows = []
    for about in report.rows:
        for value in report.get(about.label, metric):
            change = tables.NOTHING
            if control and about.label != first:
                old, new = control[0].estimate.mean, value.estimate.mean
                change = (
                    f"{100 * (new / old - 1):+.1f}%" if ratio else f"{factor * (new - old):+.3g}"
                )
            rows.append([about.label, value.estimate.text(factor), change])
    title = f"A look at {metric}, on {report.split}"
    return Table(title, ["", tables.head(metric), f"change from {first}"], rows, NOTE)
