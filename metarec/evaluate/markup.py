"""The marks of a page: its style, its tables, and text that holds no marks."""

import html
from collections.abc import Iterable, Sequence
from typing import NamedTuple

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a;
  overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: right; vertical-align: top; border-bottom: 1px solid #e3e3e3;
  background: #fff; overflow-wrap: normal; }
td { white-space: nowrap; } th { font-weight: 600; vertical-align: bottom; } thead th { border-bottom: 2px solid #888; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; }
.facts td { text-align: left; white-space: normal; overflow-wrap: anywhere; } .facts thead { display: none; }
tr.candidate td { font-weight: 600; background: #f3f6fa; } .best { color: #0a6b2d; font-weight: 600; }
td small { display: block; color: #666; font-weight: 400; font-size: .75rem; line-height: 1.2; }
.passed, .failed { padding: .5rem .9rem; border-left: 4px solid; } .failed ul { margin: .3rem 0; padding-left: 1.2rem; }
.passed { color: #0a6b2d; background: #f0f8f2; } .failed { color: #a02020; background: #fbf2f2; }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: 1rem 0; } a { color: #1f5fa8; }
svg { max-width: 100%; min-width: 34rem; height: auto; margin-top: 1rem; }
.note { color: #555; max-width: 48rem; }
@media (max-width: 40rem) {
  body { margin: 1rem auto; padding: 0 .8rem; font-size: 14px; } th, td { padding: .25rem .45rem; }
  td:first-child { white-space: normal; min-width: 6rem; max-width: 8.5rem; }
}
"""
"""Of the whole page: tables wider than the window scroll, and the names of their rows stay."""


class Cell(NamedTuple):
    """What stands in a cell of a table.

    Attributes:
        content: its text.
        below: small text on a second line; empty = none.
        best: whether it is marked.
    """

    content: str
    below: str = ""
    best: bool = False


def table(
    titles: Sequence[str], rows: Iterable[tuple[str, Sequence[str | Cell]]], *, candidate: str = "", kind: str = ""
) -> str:
    """A table.

    Args:
        titles: of the columns, that of the names first.
        rows: name → cells.
        candidate: the name of the row to set off.
        kind: its class; `facts` has texts and no titles.
    """
    head = "".join(f"<th>{text(title)}</th>" for title in titles)
    body = "".join(
        f"<tr{_row_class(name, candidate)}><td>{text(name)}</td>{''.join(map(_cell, cells))}</tr>"
        for name, cells in rows
    )
    return f'<div class="scroll {kind}"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def note(*sentences: str) -> str:
    """A paragraph below a table; nothing without a sentence."""
    return f'<p class="note">{text(" ".join(sentences))}</p>' if sentences else ""


def text(value: object) -> str:
    """A value as text in which nothing is a mark."""
    return html.escape(str(value))


def _row_class(name: str, candidate: str) -> str:
    return ' class="candidate"' if candidate and name == candidate else ""


def _cell(cell: str | Cell) -> str:
    content, below, best = cell if isinstance(cell, Cell) else Cell(cell)
    small = f"<small>{text(below)}</small>" if below else ""
    mark = ' class="best"' if best else ""
    return f"<td{mark}>{text(content)}{small}</td>"
