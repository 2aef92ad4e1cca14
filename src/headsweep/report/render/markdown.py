"""A report as Markdown."""

from collections.abc import Iterable, Mapping
from textwrap import indent

from headsweep.report.content import Report
from headsweep.report.render import all_tables, tables, verdict_tables
from headsweep.report.render.pictures import left_out
from headsweep.report.render.recommendation import recommendation
from headsweep.report.render.tables import Table


def markdown(report: Report, pictures: Mapping[str, str]) -> str:
    """The whole report.

    Args:
        report: What to show.
        pictures: File name and caption of each picture beside the text.
    """
    notes = [*report.notes, *left_out(report), tables.N_NOTE, tables.ARROWS_NOTE]
    origin = report.origin
    shown = all_tables.named_tables(report)
    compared = [_table(shown.pop(name)) for name in all_tables.comparison_tables(report)]
    parts = [f"# {report.name}", origin.question, f"**{recommendation(report)}**"]
    parts += [verdict_tables.answer(report)]
    parts += [*compared[:1], _list(verdict_tables.open_questions(report)), *compared[1:]]
    if lines := tables.problems(report):
        parts += ["## Members without figures", _list(lines)]
    parts += map(_table, shown.values())
    parts += ["## Pictures", *(f"![{text}]({name})\n\n{text}" for name, text in pictures.items())]
    parts += ["## How to read this", _list(notes)]
    parts += ["## What is not modelled", _list(report.not_modelled or ["Nothing is stated."])]
    parts += ["## Provenance", _list(f"{name}: {text}" for name, text in origin.facts.items())]
    parts += ["## How to reproduce", indent("\n".join(origin.commands), "    ")]
    return "\n\n".join(part for part in parts if part) + "\n"


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(table: Table) -> str:
    lines = [table.columns, ["---", *["---:"] * (len(table.columns) - 1)], *table.rows]
    body = "\n".join(
        "| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in lines
    )
    return f"## {table.title}\n\n{body}" + (f"\n\n{table.note}" if table.note else "")
