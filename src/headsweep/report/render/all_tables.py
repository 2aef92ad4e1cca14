"""All tables of a report by their names."""

from headsweep.report.content import Report
from headsweep.report.render import seed_tables, sequential_tables, tables, verdict_tables
from headsweep.report.render.tables import Table


def comparison_tables(report: Report) -> dict[str, Table]:
    """Tables on what a comparison comes to; none where nothing is compared."""
    found = {}
    if report.effects:
        found["verdicts"] = verdict_tables.verdict_table(report)
    if looks := sequential_tables.looks_table(report):
        found["looks"] = looks
    if report.confirmation:
        found["confirmation"] = verdict_tables.confirmation_table(report)
    if report.effects and report.fairness:
        found["fairness"] = verdict_tables.fairness_table(report)
    return found


def figure_tables(report: Report) -> dict[str, Table]:
    """Tables of all figures, in the order of the written report."""
    binned = {
        f"{metric} by {axis}": tables.binned_table(report, axis, metric)
        for axis, metric in tables.binned_tables(report)
    }
    uncertainty = tables.uncertainty_table(report)
    return {
        "main": tables.main_table(report),
        **({"uncertainty": uncertainty} if uncertainty.rows else {}),
        **({"average": seed_tables.average_table(report)} if report.averages else {}),
        **({"agreement": seed_tables.agreement_table(report)} if report.agreement else {}),
        "tails": tables.tails_table(report),
        "training": tables.training_table(report),
        **({"beside control": tables.beside_table(report)} if report.trainings else {}),
        "common": tables.common_table(report),
        **binned,
        "collider": tables.collider_table(report),
        "fit": tables.fit_table(report),
    }


def named_tables(report: Report) -> dict[str, Table]:
    """Every table of a report by its name."""
    return {
        **comparison_tables(report),
        **figure_tables(report),
        "stability": tables.stability_table(report),
        "cost": tables.cost_table(report),
    }
