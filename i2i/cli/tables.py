"""Rows and columns of plain text, for terminals of any width and for pipes."""

import math
import shutil
from collections.abc import Iterable, Iterator, Sequence

PIPED = 100
"""Characters in a line where there is no terminal."""


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines with columns as wide as what is in them; a shorter row tells something in words, and may be longer."""
    full = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(len(row[i]) for row in (full if i else rows)) for i in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()


def filled(cells: Iterable[str], indent: int = 0) -> Iterator[str]:
    """As many cells in a line as the terminal is wide, and none of them broken."""
    line, most = "", width() - indent
    for cell in cells:
        if line and len(line) + 2 + len(cell) > most:
            yield line
            line = ""
        line += f"  {cell}" if line else cell
    if line:
        yield line


def blocks(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The same as several tables with one first column, each no wider than the terminal; in a pipe or a file as one."""
    most, widths, start = shutil.get_terminal_size((10**6, 24)).columns, [max(map(len, c)) for c in zip(*rows, strict=True)], 1
    while start < len(widths):
        end = start + 1
        while end < len(widths) and widths[0] + sum(2 + width for width in widths[start : end + 1]) <= most:
            end += 1
        yield from [""] if start > 1 else []
        yield from columns([[row[0], *row[start:end]] for row in rows])
        start = end


def width() -> int:
    return shutil.get_terminal_size((PIPED, 24)).columns


def short(value: float | str | None) -> str:
    """In four digits; nothing of what is not there."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return value if isinstance(value, str) else f"{value:.4g}"
