"""A report as one HTML page that needs no network: for the screen and for paper."""

import json
from itertools import chain

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from headsweep.report.content import Report
from headsweep.report.render import (
    all_tables,
    names,
    pictures,
    plotly_renderer,
    report_style,
    tables,
    verdict_tables,
)
from headsweep.report.render.recommendation import recommendation

SIGNS = {
    "circle": "●",
    "square": "■",
    "diamond": "◆",
    "triangle-up": "▲",
    "triangle-down": "▼",
    "plus": "✚",
}
"""Markers as characters."""

BORDERS = {"dot": "dotted", "dash": "dashed", "solid": "solid"}
"""Lines of the references in CSS."""

LONG = 30
"""Number of characters; longer cells of a table may be broken into lines."""

NO_NETWORK = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
)
"""Content-Security-Policy of the page: it loads nothing, and the browser enforces that."""


def page(report: Report) -> str:
    """The whole page; the same report gives the same text."""
    from plotly.offline import get_plotlyjs

    drawn = {
        "main": pictures.main_pictures(report),
        "detail": pictures.detail_pictures(report),
        "effects": pictures.effect_pictures(report),
        "training": pictures.training_pictures(report),
        "seeds": pictures.seed_pictures(report),
        "cost": pictures.cost_pictures(report),
    }
    figures = {p.name: plotly_renderer.draw(p) for p in chain.from_iterable(drawn.values())}
    environment = Environment(
        loader=PackageLoader("headsweep.report.render", "."),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.globals |= {"long": _long, "breakable": _breakable, "explained": _explained}
    return environment.get_template("page.html.j2").render(
        report=report,
        policy=NO_NETWORK,
        question=_question(report),
        recommendation=recommendation(report),
        answer=verdict_tables.answer(report),
        legend_title=report_style.legend_title(report),
        markers=report_style.markers(report),
        signs=SIGNS,
        dashes=report_style.dashes(report),
        borders=BORDERS,
        pictures=drawn,
        **_tables(report),
        wide={p.name for p in chain.from_iterable(drawn.values()) if p.columns > 1},
        problems=tables.problems(report),
        notes=[*report.notes, *pictures.left_out(report), tables.N_NOTE, tables.ARROWS_NOTE],
        figures=_json(figures),
        plotly=Markup(get_plotlyjs()),
    )


def _question(report: Report) -> str:
    return report.origin.question or (
        f"No question is written down; the runs come from: {report.origin.commands[0]}"
    )


def _tables(report: Report) -> dict[str, object]:
    """Tables by their names in the template."""
    found = all_tables.named_tables(report)

    def taken(*names: str) -> list[tables.Table]:
        return [found.pop(name) for name in names if name in found]

    return {
        "open_questions": verdict_tables.open_questions(report),
        "front_tables": [_slim(table) for table in taken("verdicts", "main")],
        "seed_tables": taken("average", "agreement", "stability"),
        "training_tables": taken("looks", "confirmation", "fairness", "training", "beside control"),
        "cost_tables": taken("cost"),
        "names_table": names.names_table(report),
        "figure_tables": [*found.values()],  # what is left
    }


def _slim(table: tables.Table) -> tables.Table:
    """A table without columns that say the same in every row, as the answer above it does."""
    same = {
        at
        for at, column in enumerate(table.columns)
        if column in ("against", "metric") and len({row[at] for row in table.rows}) == 1
    }
    columns, *rows = (
        [cell for at, cell in enumerate(row) if at not in same]
        for row in (table.columns, *table.rows)
    )
    return tables.Table(table.title, columns, rows, table.note)


def _long(cell: str) -> Markup:
    """The class of a cell that may be broken into lines."""
    return Markup(' class="long"' if len(cell) > LONG else "")


def _explained(head: str) -> Markup:
    """What a column's name means, under the mouse."""
    text = names.meaning(head.split()[0]) if head.split() else ""
    return Markup(' title="{}"').format(text) if text else Markup("")


def _breakable(name: str) -> Markup:
    """A name that may be broken behind its underscores."""
    return Markup(escape(name).replace("_", Markup("_<wbr>")))


def _json(figures: dict[str, plotly_renderer.Json]) -> Markup:
    """Figures by name; nothing in it ends the script element."""
    return Markup(json.dumps(figures, allow_nan=False).replace("<", "\\u003c"))
