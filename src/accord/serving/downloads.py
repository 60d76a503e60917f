"""Files of runs as a browser gets them: reports as they are, in a cage; text as text; the rest to be saved."""

from __future__ import annotations

from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse

# What the report itself asks for, and no script, form or cookie whatever it says; a page of ours may frame it
CAGED = {
    "content-security-policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox; "
    "frame-ancestors 'self'",
    "x-frame-options": "SAMEORIGIN",
}
WHOLE = {"content-encoding": "identity"}  # what does not shrink is sent as it is
_TEXT = frozenset({".yaml", ".json", ".jsonl", ".csv", ".md", ".txt"})
_SHOWN = {".html": "text/html; charset=utf-8", ".png": "image/png", ".svg": "image/svg+xml"}
_SAVED = frozenset({".parquet", ".safetensors"})
KINDS = frozenset({*_TEXT, *_SHOWN, *_SAVED})


def is_offered(path: Path) -> bool:
    """Whether a file is of a kind that pages give away.

    >>> is_offered(Path("report.html")), is_offered(Path("last.ckpt")), is_offered(Path(".owner"))
    (True, False, False)
    """
    return path.suffix.lower() in KINDS and not path.name.startswith(".")


def file_answer(path: Path) -> FileResponse:
    """A file, so that a browser runs nothing that is in it.

    Raises:
        HTTPException: it is of another kind.
    """
    if not is_offered(path):
        raise HTTPException(404, f"Files such as {path.name} are not given away.")
    kind = path.suffix.lower()
    if kind in _SAVED:
        return FileResponse(path, media_type="application/octet-stream", filename=path.name, headers=WHOLE)
    if kind in _TEXT:
        return FileResponse(path, media_type="text/plain; charset=utf-8")
    return FileResponse(path, media_type=_SHOWN[kind], headers=CAGED)
