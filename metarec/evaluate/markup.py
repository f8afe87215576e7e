"""The marks of a page: its style, its tables, and text that holds no marks."""

import html
from collections.abc import Iterable, Sequence

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #e3e3e3; }
th:first-child, td:first-child { text-align: left; } thead th { border-bottom: 2px solid #888; }
tr.candidate td { font-weight: 600; background: #f3f6fa; } .best { color: #0a6b2d; font-weight: 600; }
.passed { color: #0a6b2d; } .failed { color: #a02020; } nav a { margin-right: 1rem; }
svg { max-width: 100%; height: auto; margin-top: 1rem; }
.note { color: #555; }
"""
"""Of the whole page."""


def table(titles: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], candidate: str = "") -> str:
    """A table; the row of the candidate is set off, and a cell that starts with `*` is marked as the best.

    Args:
        titles: of the columns, that of the names first.
        rows: name → cells.
        candidate: the name of the row to set off.
    """
    head = "".join(f"<th>{text(title)}</th>" for title in titles)
    body = "".join(
        f"<tr{_row_class(name, candidate)}><td>{text(name)}</td>{''.join(map(_cell, cells))}</tr>"
        for name, cells in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _row_class(name: str, candidate: str) -> str:
    return ' class="candidate"' if candidate and name == candidate else ""


def _cell(content: str) -> str:
    return f'<td class="best">{text(content[1:])}</td>' if content.startswith("*") else f"<td>{text(content)}</td>"


def text(value: object) -> str:
    """A value as text in which nothing is a mark."""
    return html.escape(str(value))
