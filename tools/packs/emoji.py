"""Build the emoji pack that ships with Accord from the npm packages it names.

    npm install --ignore-scripts emoji-datasource@16.0.0 emoji-datasource-google@16.0.0 \
        emoji-datasource-twitter@16.0.0 emojibase-data@17.0.0
    python tools/packs/emoji.py . --out src/accord/data/packs/files/emoji.parquet

Without a folder the packages are fetched through npm and compared with the checksums in the pack. The same packages
give the same file, byte for byte, under one version of pyarrow.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from pathlib import Path

from accord.data.packs.emoji import PACK, read
from accord.data.packs.fetch import fetch_folder
from accord.data.packs.store import write_rows
from accord.errors import DataError


def main() -> None:
    """Read the packages, write the Parquet file, print what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="folder that holds node_modules")
    parser.add_argument("--out", type=Path, required=True, help="Parquet file to write")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        if options.folder is None:
            fetch_folder(PACK, Path(temporary), print)
        write(options.folder or Path(temporary), options.out)


def write(folder: Path, out: Path) -> None:
    """Write the pack; a single unreadable picture stops it, for the shipped file has none."""
    rows = list(read(folder, refuse))
    sources = [str(source) for source in PACK.sources]
    write_rows(rows, PACK.schema, out, {"rows": len(rows), "rejected": 0, "checked": True, "sources": sources})
    data = out.read_bytes()
    print(f"{out}: {len(rows)} rows, {len(data) / 1e6:.1f} MB, sha256 {hashlib.sha256(data).hexdigest()}")


def refuse(name: str, reason: str) -> None:
    """Stop at an unreadable picture."""
    raise DataError(reason)


if __name__ == "__main__":
    main()
