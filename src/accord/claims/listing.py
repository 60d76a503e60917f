"""All questions on the terminal: name, answer and effect on a narrow one, all that the page has on a wide one."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from accord.claims.overview import Line
from accord.claims.table import levels, seeds
from accord.papers.verdicts import effect

MIDDLE, WIDE = 100, 160  # columns of a terminal
COLUMNS = {  # heading -> from which width on
    "question": 0,
    "statement": MIDDLE,
    "data": WIDE,
    "answer": 0,
    "effect": 0,
    "floor, ceiling": WIDE,
    "seeds": MIDDLE,
    "commit": WIDE,
}
STYLES = {"holds": "green", "does not hold": "bold red"}


def listing(lines: Iterable[Line], width: int) -> Table:
    """One row a question.

    Args:
        lines: the questions.
        width: of the terminal; fewer columns are shown on a narrow one.
    """
    shown = [heading for heading, least in COLUMNS.items() if width >= least]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in shown:
        table.add_column(heading, overflow="fold", ratio={"question": 2, "statement": 4}.get(heading))
    for line in lines:
        cells = _cells(line)
        table.add_row(*(cells[heading] for heading in shown))
    return table


def _cells(line: Line) -> dict[str, Text]:
    """Heading -> what stands under it, as text: brackets are no markup."""
    cells = {"question": line.name, "statement": line.statement, "data": line.kind_of_data}
    if line.found is None:
        cells |= {
            "answer": line.remark,
            "effect": "",
            "floor, ceiling": "",
            "seeds": str(line.seeds or ""),
            "commit": "",
        }
        return {heading: Text(cell) for heading, cell in cells.items()}
    answer = line.found["answer"]
    remark = f"; {line.remark}" if line.remark else ""
    cells |= {"effect": effect(line.found), "floor, ceiling": levels(line.found), "commit": line.commit[:10]}
    cells["seeds"] = seeds(line.seeds, line.found)
    told = Text(f"{answer}{remark}", style=STYLES.get(answer, ""))
    return {heading: Text(cell) for heading, cell in cells.items()} | {"answer": told}
