"""What ``accord data list`` and ``accord data info`` print."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from accord.data.packs import available_packs, pack_info

if TYPE_CHECKING:
    from rich.table import Table


def packs_table() -> Table:
    """All packs, one a line: what each is and whether it is on this machine."""
    from rich.table import Table

    table = Table("pack", "what", "licence", "here", title="Packs: use one as pack:NAME")
    for name in available_packs():
        info = pack_info(name)
        table.add_row(name, info["summary"], info["licence"], _here(info))
    return table


def pack_text(name: str) -> str:
    """Everything about one pack, as plain paragraphs.

    Raises:
        DataError: there is no such pack.

    Example:
        >>> print(pack_text("emoji"))
        emoji: 1,906 emoji drawn in two styles, names and tags in five languages, 98 classes
        ...
        use         accord train pack:emoji
        ...
    """
    info = pack_info(name)
    lines = {
        "here": _here(info),
        "use": f"accord train pack:{info['name']} {info['options']}".strip(),
        "rows": f"{info['rows'] or info['expected_rows']:,}",
        "columns": ", ".join(f"{column} ({kind})" for column, kind in info["schema"].items()),
        "read as": ", ".join(f"{part} = {_named(column)}" for part, column in info["columns"].items() if column),
        "licence": info["licence"],
        "credit": info["credit"],
        "origin": info["origin"],
        "packages": "; ".join(info["sources"]),
        "path": info["path"] if info["present"] else "none yet",
    }
    if info["present"] and not info["embedded"]:
        checked = "against the pack's checksums or the archive's signature"
        lines["checked"] = checked if info["checked"] else "no: built from a folder of your own"
        lines["files"] = "; ".join(f"{file} {digest}" for file, digest in info["files"].items()) or "not recorded"
    head = f"{info['name']}: {info['summary']}\n\n{info['about']}\n\n"
    return head + "\n".join(f"{key:<11} {value}" for key, value in lines.items())


def _here(info: dict[str, Any]) -> str:
    if info["embedded"]:
        return f"ships with Accord ({info['size'] / 1e6:.0f} MB)"
    if info["present"]:
        return f"yes ({info['size'] / 1e6:.0f} MB)"
    return f"no: accord data get {info['name']} ({info['download_size'] / 1e6:.0f} MB to download)"


def _named(column: str | tuple[str, ...]) -> str:
    return column if isinstance(column, str) else " + ".join(column)
