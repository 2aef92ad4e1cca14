"""A report as one HTML page that needs no network: for the screen and for paper."""

import json
from collections.abc import Iterable
from html import escape

from headsweep.report.content import Report
from headsweep.report.render import page_figures, tables, verdict_tables
from headsweep.report.render.page_axes import dashes, styles
from headsweep.report.render.page_figures import Picture

CSS = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 15px/1.45 system-ui, "DejaVu Sans", sans-serif; color: #222; background: white;
  max-width: 1424px; margin: 0 auto; padding: 4px 24px 40px; }
h1 { font-size: 20px; margin: 4px 0; }
h2 { font-size: 18px; margin: 28px 0 6px; border-bottom: 1px solid #ccc; break-after: avoid; }
h3 { font-size: 15px; margin: 0 0 2px; }
p { margin: 4px 0; }
p.answer { font-size: 16px; font-weight: 600; }
figure { width: 448px; margin: 3px 0 5px; break-inside: avoid; }
figcaption, p.note { font-size: 12px; line-height: 1.3; color: #444; }
.figures { display: flex; flex-wrap: wrap; gap: 4px 14px; }
.legend { position: sticky; top: 0; z-index: 1; background: white; padding: 4px 0; display: flex;
  flex-wrap: wrap; gap: 2px 18px; align-items: baseline; }
.legend .hint { font-size: 12px; color: #666; }
.legend button { font: inherit; background: none; border: 0; padding: 2px 0; cursor: pointer;
  color: inherit; text-align: left; }
.legend button.off { opacity: 0.35; text-decoration: line-through; }
.legend .line { display: inline-block; width: 28px; border-top: 2px black; margin-right: 5px;
  vertical-align: middle; }
.table { overflow-x: auto; margin: 6px 0 14px; break-inside: avoid; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 2px 10px 2px 0; text-align: right; vertical-align: bottom; }
th { border-bottom: 1px solid #888; font-weight: 600; }
td { border-bottom: 1px solid #eee; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; }
td.long { white-space: normal; min-width: 15em; }
pre { background: #f4f4f4; padding: 8px; white-space: pre-wrap; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 14px; }
dt { color: #555; }
dd { margin: 0; overflow-wrap: anywhere; }
@page { size: A4; margin: 10mm; }
@media print {
  body { padding: 0; max-width: none; font-size: 10.5pt; }
  .legend { position: static; }
  .legend .hint { display: none; }
  .figures { display: block; zoom: 0.76; }
  figure { display: inline-block; vertical-align: top; margin-right: 12px; }
  .table { overflow: visible; }
  table { font-size: 7pt; }
  th, td { padding-right: 7px; white-space: normal; }
  h2 { margin-top: 14px; }
}
"""

SCRIPT = """
const figures = JSON.parse(document.getElementById("figures").textContent);
for (const [name, figure] of Object.entries(figures))
  Plotly.newPlot(name, figure.data, figure.layout, {displaylogo: false, displayModeBar: false});
for (const button of document.querySelectorAll(".legend button"))
  button.addEventListener("click", () => {
    const shown = !button.classList.toggle("off");
    button.setAttribute("aria-pressed", shown);
    for (const name of Object.keys(figures)) {
      const plot = document.getElementById(name);
      const traces = plot.data.flatMap((t, i) => t.legendgroup === button.dataset.label ? [i] : []);
      if (traces.length) Plotly.restyle(plot, {visible: shown}, traces);
    }
  });
"""

SIGNS = {
    "circle": "●",
    "square": "■",
    "diamond": "◆",
    "triangle-up": "▲",
    "triangle-down": "▼",
    "cross": "✚",
}
"""Markers of plotly.js as characters."""

LONG = 30
"""Longer cells of a table may be broken into lines."""

NO_NETWORK = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
)
"""What the page may load, for the browser to enforce: nothing."""


def page(report: Report) -> str:
    """The whole page; the same report gives the same text."""
    from plotly.offline import get_plotlyjs

    first = page_figures.main_pictures(report)
    first = [page_figures.search(report.search), *first] if report.search is not None else first
    effects = [page_figures.effects(report, m) for m in page_figures.compared(report)]
    training = [page_figures.learning(report), page_figures.stability(report)]
    costs = [page_figures.cost(report, what) for what in page_figures.COSTS]
    pictures = [*first, *effects, *training, *costs]
    body = "\n".join(
        [
            _header(report),
            _legend(report),
            _figures(first),
            *_verdicts(report),
            _section("Effects, learning curves, stability" if effects else "Training"),
            _figures([*effects, *training]),
            _table(tables.stability_table(report)),
            _section("Cost"),
            _figures(costs),
            _table(tables.cost_table(report)),
            _section("All figures in tables"),
            *map(_table, tables.all_tables(report)),
            _section("How to read this"),
            _list([*report.notes, tables.N_NOTE, tables.ARROWS_NOTE]),
            _section("What is not modelled"),
            _list(report.not_modelled or ["Nothing is stated."]),
            _origin(report),
        ]
    )
    title = escape(report.name)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{NO_NETWORK}">
<meta name="viewport" content="width=device-width">
<title>{title} – headsweep</title>
<style>{CSS}</style>
</head>
<body>
{body}
<script type="application/json" id="figures">{_json(pictures)}</script>
<script>{get_plotlyjs()}</script>
<script>{SCRIPT}</script>
</body>
</html>
"""


def _header(report: Report) -> str:
    question = report.origin.question or (
        f"No question is written down; the runs come from: {report.origin.commands[0]}"
    )
    answer = verdict_tables.answer(report)
    return (
        f"<h1>{escape(report.name)}: {escape(question)}</h1>\n"
        f'<p class="answer">{escape(answer)}</p>'
    )


def _legend(report: Report) -> str:
    """One for all figures; a click hides a configuration or reference in each of them."""
    entries = [
        (label, f'<span style="color:{style.colour}">{SIGNS[style.symbol]}</span> ')
        for label, style in styles(report).items()
    ]
    css = {"dot": "dotted", "dash": "dashed", "solid": "solid"}
    entries += [
        (label, f'<span class="line" style="border-top-style:{css[dash]}"></span>')
        for label, dash in dashes(report).items()
    ]
    buttons = "\n".join(
        f'<button aria-pressed="true" data-label="{escape(label)}" title="click: hide or show">'
        f"{sign}{escape(label)}</button>"
        for label, sign in entries
    )
    total = len(report.heads)
    shown = len(styles(report))
    note = (
        f"<span>{shown} of {total}: the first and the lowest r68</span>\n" if shown < total else ""
    )
    hint = '<span class="hint">click: hide; drag: zoom; double click: back</span>'
    return f'<div class="legend">\n{note}{buttons}\n{hint}\n</div>'


def _figures(pictures: Iterable[Picture]) -> str:
    parts = [
        f"<figure>\n<h3>{escape(picture.title)}</h3>\n"
        f'<div class="plot" id="{escape(picture.name)}"></div>\n'
        f"<figcaption>{escape(picture.note)}</figcaption>\n</figure>"
        for picture in pictures
    ]
    return '<div class="figures">\n' + "\n".join(parts) + "\n</div>"


def _verdicts(report: Report) -> list[str]:
    """What the comparison comes to, whether it is fair, and who is missing."""
    parts = []
    if report.effects:
        parts.append(_table(verdict_tables.verdict_table(report)))
    if lines := verdict_tables.open_questions(report):
        parts.append(_list(lines))
    if report.confirmation:
        parts.append(_table(verdict_tables.confirmation_table(report)))
    if report.effects and report.fairness:
        parts.append(_table(verdict_tables.fairness_table(report)))
    if lines := tables.problems(report):
        parts += [_section("Members without figures"), _list(lines)]
    return parts


def _origin(report: Report) -> str:
    facts = "\n".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>"
        for name, text in report.origin.facts.items()
    )
    commands = escape("\n".join(report.origin.commands))
    return (
        f"{_section('Provenance')}\n<dl>\n{facts}\n</dl>\n"
        f"{_section('How to reproduce')}\n<pre>{commands}</pre>"
    )


def _section(title: str) -> str:
    return f"<h2>{escape(title)}</h2>"


def _list(lines: Iterable[str]) -> str:
    return "<ul>\n" + "\n".join(f"<li>{escape(line)}</li>" for line in lines) + "\n</ul>"


def _table(table: tables.Table) -> str:
    def row(cells: Iterable[str], tag: str) -> str:
        opened = {True: f'<{tag} class="long">', False: f"<{tag}>"}
        inside = (f"{opened[len(cell) > LONG]}{escape(cell)}</{tag}>" for cell in cells)
        return f"<tr>{''.join(inside)}</tr>"

    head = row(table.columns, "th").replace("_", "_<wbr>")
    body = "\n".join(row(cells, "td") for cells in table.rows)
    note = f'<p class="note">{escape(table.note)}</p>\n' if table.note else ""
    return (
        f'<div class="table">\n<h3>{escape(table.title)}</h3>\n<table>\n'
        f"<thead>{head}</thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"
        f"{note}</div>"
    )


def _json(pictures: Iterable[Picture]) -> str:
    """Figures by name; nothing in it ends the script element."""
    content = {picture.name: picture.figure for picture in pictures}
    return json.dumps(content, allow_nan=False).replace("<", "\\u003c")
