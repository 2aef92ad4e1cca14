"""``headsweep report``: a sweep's comparison, written and printed.

``build_report`` gives the data, ``write_report`` its page, Markdown, JSON and pictures, and
``print_report`` its main tables in the terminal.
"""

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from headsweep import terminal
from headsweep.files import atomic_dir, write_json
from headsweep.report.build import build_report
from headsweep.report.content import Report
from headsweep.report.render import (
    all_tables,
    markdown,
    matplotlib_renderer,
    page,
    paper_tables,
    pictures,
    tables,
    verdict_tables,
)
from headsweep.report.render.look_table import look_table
from headsweep.report.render.recommendation import recommendation
from headsweep.report.render.summary import summary
from headsweep.store import paths

__all__ = ["Report", "build_report", "print_report", "write_report"]


def write_report(report: Report, folder: Path) -> None:
    """Write a report as page, Markdown with pictures, JSON and tables, over an older one.

    Args:
        report: What to write.
        folder: The report's own folder, ``root/sweeps/<name>/report``.
    """
    with atomic_dir(folder) as temporary:
        (temporary / "report.json").write_text(report.to_json(), encoding="utf-8")
        write_json(temporary / paths.SUMMARY, summary(report), sync=False)
        drawn = pictures.paper_pictures(report)
        captions = {f"{picture.name}.png": picture.caption for picture in drawn}
        text = markdown.markdown(report, captions)
        (temporary / "report.md").write_text(text, encoding="utf-8")
        (temporary / "report.html").write_text(page.page(report), encoding="utf-8")
        for picture in drawn:
            png = matplotlib_renderer.png(matplotlib_renderer.draw(picture))
            (temporary / f"{picture.name}.png").write_bytes(png)
        (temporary / "tables").mkdir()
        for name, text in paper_tables.paper_tables(report).items():
            (temporary / "tables" / name).write_text(text, encoding="utf-8")


def print_report(report: Report, console: Console | None = None, metric: str | None = None) -> None:
    """Show the main tables in the terminal, and one more metric where it is given."""
    console = console or terminal.console()
    console.print(f"{report.name}: {recommendation(report)}", style="bold")
    console.print(verdict_tables.answer(report))
    for table in (
        *all_tables.comparison_tables(report).values(),
        tables.main_table(report),
        *([uncertainty] if (uncertainty := tables.uncertainty_table(report)).rows else []),
        tables.tails_table(report),
        tables.training_table(report),
        tables.stability_table(report),
        tables.common_table(report),
        tables.binned_table(report, "pt", "qoverpt_r68"),
        *([] if metric is None else [look_table(report, metric)]),
    ):
        console.print(_rich(table))
        console.print()
    missing = "; ".join(report.not_modelled) or "nothing is stated"
    notes = (
        *report.notes,
        *pictures.left_out(report),
        tables.N_NOTE,
        tables.ARROWS_NOTE,
        f"Not modelled: {missing}.",
    )
    for line in (*verdict_tables.open_questions(report), *tables.problems(report), *notes):
        console.print(f"- {line}")


def _rich(table: tables.Table) -> RichTable:
    note = Text(table.note, justify="left") if table.note else None
    rich = RichTable(title=Text(table.title, "bold"), title_justify="left", caption=note)
    rich.box, rich.show_edge, rich.padding = SIMPLE_HEAD, False, (0, 1, 0, 0)
    for i, column in enumerate(table.columns):
        heading = column.replace(" [", "\n[")  # units below, to fit into 120 columns
        rich.add_column(heading, justify="right" if i else "left", no_wrap=i == 0)
    for row in table.rows:
        rich.add_row(*row)
    return rich
