"""Build the archive packs that ship with Accord from a list of all packages of a Debian machine.

    apt-cache dumpavail > dumpavail.txt
    python tools/packs/archive.py . --out src/accord/data/packs/files

The index changes with every update of the distribution: the files are a snapshot, and this is how to take another.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from accord.data.packs import archive, archive_tagged
from accord.data.packs.store import write_rows
from accord.errors import DataError


def main() -> None:
    """Read the list, write both Parquet files, print what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help=f"folder that holds {archive.FILE}")
    parser.add_argument("--out", type=Path, required=True, help="folder of the Parquet files")
    options = parser.parse_args()
    listed = hashlib.sha256((options.folder / archive.FILE).read_bytes()).hexdigest()
    for pack in (archive.PACK, archive_tagged.PACK):
        rows = list(pack.read(options.folder, refuse))
        note = {"rows": len(rows), "rejected": 0, "checked": True, "sources": [f"{archive.FILE} sha256 {listed}"]}
        out = options.out / f"{pack.name}.parquet"
        write_rows(rows, pack.schema, out, note)
        print(f"{out}: {len(rows)} rows, {out.stat().st_size / 1e6:.1f} MB")


def refuse(name: str, reason: str) -> None:
    """Stop at a package that cannot be used."""
    raise DataError(f"{name}: {reason}")


if __name__ == "__main__":
    main()
