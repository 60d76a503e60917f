"""The package as a stranger meets it: quick to start, complete in the wheel, honest about its sources."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "accord"
MODULES = {"faiss-cpu": "faiss", "pillow": "PIL", "pyyaml": "yaml"}  # where the name differs from the distribution's
OPTIONAL = {
    "av",
    "soundfile",
    "torch_geometric",
    "fastapi",
    "starlette",
    "limits",
    "uvicorn",
    "pip",
}  # extras, and a package client that may be absent
HEAVY = ("torch", "torchvision", "lightning", "transformers", "datasets", "timm", "lancedb", "matplotlib", "pandas")
HELP = "import sys; sys.argv = ['accord', '--help']\nfrom accord.cli import main\ntry: main()\nexcept SystemExit: pass"


def processor_seconds(*arguments: str) -> float:
    """Processor time of the fastest of three fresh interpreters.

    Wall time would measure the other test processes as well; ``benchmarks/import_time.py`` measures that, alone.
    """
    times = []
    for _ in range(3):
        before = os.times()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        times.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return min(times)


@pytest.mark.parametrize("arguments", [("-c", "import accord"), ("-m", "accord", "--help")])
def test_starting_takes_less_than_a_second(arguments):
    assert processor_seconds(*arguments) < 1.0


@pytest.mark.parametrize("program", ["import accord", HELP], ids=["import", "help"])
def test_nothing_heavy_is_imported_at_start(program):
    listing = f"{program}\nimport sys; print('loaded:', *(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", listing], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1].split() == ["loaded:"]


def test_every_public_name_of_the_package_resolves():
    import accord

    assert [name for name in accord.__all__ if getattr(accord, name, None) is None] == []


def test_the_verbs_of_the_command_line_are_functions_at_the_top():
    import accord
    import accord.explaining
    import accord.searching
    from accord.cli import app

    names = [(command.name or command.callback.__name__).split()[0] for command in app.registered_commands]
    assert [name for name in names if not callable(getattr(accord, name.replace("-", "_"), None))] == []


def test_embedding_and_search_do_without_what_only_training_takes():
    code = "from accord.pipeline import embed, search; import sys; "
    code += "print([name for name in ('lightning', 'torchmetrics', 'scipy.signal') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_a_search_by_words_does_without_what_reads_pictures():
    code = "import sys; from accord.pipeline import search; from accord.methods import get_method\n"
    code += "import accord.encoders.text; [get_method(name) for name in ('clip', 'coca', 'tcl', 'gram')]\n"
    code += "print([name for name in ('timm', 'torchvision', 'scipy', 'transformers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> dict[str, int]:
    """Path in the wheel -> size in bytes."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("accord-*.whl")
    with zipfile.ZipFile(built) as archive:
        return {entry.filename: entry.file_size for entry in archive.infolist()}


def test_the_wheel_holds_every_file_of_the_package(wheel):
    files = {path.relative_to(PACKAGE.parent).as_posix() for path in PACKAGE.rglob("*") if path.is_file()}
    assert {name for name in files if "__pycache__" not in name} <= set(wheel)


@pytest.mark.parametrize(
    "pattern", [r"emoji\.parquet", r"papers/cards/clip\.yaml", r"configs/.+\.yaml", r"report/templates/"]
)
def test_the_wheel_brings_its_data(wheel, pattern):
    assert any(re.search(pattern, name) for name in wheel)


def test_the_wheel_brings_licence_and_notice(wheel):
    assert {"LICENSE", "NOTICE"} <= {Path(name).name for name in wheel}


def test_the_emoji_pack_is_small(wheel):
    (size,) = (size for name, size in wheel.items() if name.endswith("emoji.parquet"))
    assert size <= 20e6


def test_the_notice_names_the_sources_of_every_pack_that_ships():
    from accord.data.packs import available_packs, get_pack

    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    packs = [get_pack(name) for name in available_packs()]
    sources = [source.package for pack in packs if pack.embedded for source in pack.sources]
    assert sources
    assert [name for name in sources if name not in notice] == []


def test_the_notice_gives_the_licences_of_the_drawings():
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    assert [name for name in ("Noto", "Apache", "Twemoji", "CC-BY-4.0", "emojibase", "MIT") if name not in notice] == []


def text_files() -> list[Path]:
    """Every text file under version control, or to be: what git does not ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [ROOT / name for name in names if Path(name).suffix not in {".parquet", ".png", ".npz", ".wav", ".mp4"}]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="asks git which files belong to the project")
def test_no_file_names_a_place_on_somebodys_machine():
    place = re.compile(r"(?<![\w.])/(?:home|root|Users|work|tmp)/\w")
    found = [path for path in text_files() if path.is_file() and place.search(path.read_text("utf-8", "ignore"))]
    assert found == []


def used_packages() -> set[str]:
    """Top-level modules that some file of the package imports or looks up, but for itself and the standard library."""
    sources = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")]
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    names |= {name for source in sources for name in re.findall(r"find_spec\(\"(\w+)", source)}
    return {name.partition(".")[0] for name in names} - {"accord", *sys.stdlib_module_names}


def test_core_dependencies_are_those_that_the_code_uses():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.split(r"[><=]", requirement)[0] for requirement in project["dependencies"]}
    modules = {MODULES.get(name, name.replace("-", "_")) for name in declared}
    assert modules - used_packages() == set(), "declared, but nothing uses it"
    assert used_packages() - modules - OPTIONAL == set(), "used, but not declared"


def test_every_core_dependency_is_explained():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    names = [re.split(r"[><=]", requirement)[0] for requirement in project["dependencies"]]
    assert [name for name in names if f"\n| {name} |" not in page] == []


QUOTE = re.compile(r"```\w+\n# ((?:src|claims)/\S+)\n(.+?)```", re.DOTALL)


@pytest.mark.parametrize(("file", "lines"), QUOTE.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
def test_the_walk_through_quotes_the_code_as_it_is(file, lines):
    assert lines in (ROOT / file).read_text(encoding="utf-8")


def test_headings_of_the_guide_that_pages_name_are_there():
    pages = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))
    headings = re.findall(r"^#+ (.+)$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE)
    named = re.findall(r"\*([^*]+)\* in `CONTRIBUTING.md`", pages)
    assert named
    assert [name for name in named if name not in headings] == []


@pytest.mark.parametrize("target", ["demo", "test", "lint", "bench", "claims", "docs"])
def test_the_makefile_offers_the_target_that_the_readme_promises(target):
    assert f"\n{target}:" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_tests_and_examples_run_in_a_folder_of_their_own():
    assert ROOT not in (Path.cwd(), *Path.cwd().parents)
