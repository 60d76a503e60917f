"""MkDocs hook: parts of pages that are made from the code, so that they cannot fall behind it.

A page says where with a comment of its own: ``<!-- made from: NAME -->``, NAME being a key of ``MAKERS``,
``modules of PACKAGE`` for a package's reference, ``settings of CLASS`` for a table of a configuration,
``import of DISTRIBUTION`` for the seconds that its import takes, ``verdicts of CARD`` for what its claims came to, or
``benchmark of NAME`` for what one benchmark measured.
In a sentence ``{claim:SLUG/QUESTION}`` stands for the answer to one question, with a link.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pydantic.fields import FieldInfo

from accord.claims.figure import draw_all
from accord.claims.overview import Declared, Line, declared, overview
from accord.claims.record import read_records
from accord.claims.table import FOREST, anchor, badge, details, in_forest, opening, table
from accord.config import Config
from accord.data.fields import declarations
from accord.data.packs import available_packs, get_pack
from accord.diagnostics.measures import get_measures
from accord.encoders.registry import DECLARATIONS, Declaration
from accord.evaluation.needs import Need
from accord.evaluation.task import Task
from accord.evaluation.tasks import get_tasks
from accord.papers import PaperCard, list_cards, settings_of
from accord.papers.catalogue import CardClaim
from accord.papers.verdicts import effect

ROOT = Path(__file__).parent.parent
MARK = re.compile(r"<!-- made from: (.+?) -->")
CLAIM = re.compile(r"\{claim:(.+?)\}")
CLAIMS, RESULTS, FIGURES = ROOT / "claims", ROOT / "claims" / "results", "claims"  # FIGURES: where the site has them
MEASURED = ROOT / "benchmarks" / "results"
COMPARISON = "methods"
ON_OTHER_PAGES = (COMPARISON, "clean", "discover")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the figures of claims and benchmarks, which lie beside the records and not below the documentation."""
    for folder, place in ((RESULTS, FIGURES), (MEASURED, "benchmarks")):
        for path in sorted(folder.glob("*.png")):
            files.append(File.generated(config, f"{place}/{path.name}", abs_src_path=str(path)))
    if questions := in_forest(read_records(RESULTS)):
        files.append(File.generated(config, f"{FIGURES}/{FOREST}", content=draw_all(questions)))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Fill the marked places of a page; an unknown name stops the build."""
    filled = MARK.sub(lambda match: make(match[1]), markdown)
    up = "../" * page.file.src_uri.count("/")
    return CLAIM.sub(lambda match: quoted(match[1], up), filled)


def make(name: str) -> str:
    """The Markdown that a mark stands for."""
    kind, _, argument = name.partition(" of ")
    makers = {
        "modules": reference,
        "settings": settings,
        "import": import_seconds,
        "verdicts": verdicts,
        "benchmark": benchmark,
    }
    return makers[kind](argument) if argument else MAKERS[name]()


def document(name: str) -> str:
    """A document at the top of the repository, with its links made to work from the site."""
    text = (ROOT / name).read_text(encoding="utf-8")
    text = re.sub(r"\]\(docs/", "](", text)
    text = re.sub(r"\[([^\]]+)\]\(src/[^)]+\)", r"\1", text)  # what lies beside the code is not part of the site
    return re.sub(r"\[([^\]]+)\]\((?!https?:|#|[\w/-]+\.md[#)])[^)]+\)|\[([^\]]+)\]\([A-Z]+\.md\)", r"`\1\2`", text)


def reference(package: str) -> str:
    """A mkdocstrings block for the package and for each public module in it, however deep.

    Names that a package only passes on are shown where they are defined.
    """
    source = ROOT / "src"
    blocks = []
    for path in sorted(source.joinpath(*package.split(".")).rglob("*.py")):
        module = path.relative_to(source).with_suffix("").parts
        if path.stem == "__init__":
            name, members = ".".join(module[:-1]), json.dumps(defined(path))
            heading = json.dumps(name != package)  # the page's title is the package itself
            blocks.append(f"::: {name}\n    options: {{members: {members}, show_root_heading: {heading}}}")
        elif not path.stem.startswith("_"):
            blocks.append(f"::: {'.'.join(module)}")
    return "\n\n".join(blocks)


def defined(path: Path) -> list[str]:
    """Public functions and classes that a file defines itself."""
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    names = [node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return [name for name in names if not name.startswith("_")]


def settings(dotted: str) -> str:
    """The fields of a configuration class: name, default, meaning."""
    module, _, name = dotted.rpartition(".")
    fields: dict[str, FieldInfo] = getattr(import_module(module), name).model_fields
    rows = [(f"`{key}`", default_of(field), field.description or "") for key, field in fields.items()]
    return table(("setting", "default", "meaning"), rows)


def default_of(field: FieldInfo) -> str:
    """A default as code; nothing for a nested configuration, which has a table of its own."""
    default = field.get_default(call_default_factory=True)
    return "required" if field.is_required() else "" if isinstance(default, Config) else f"`{default}`"


def packs() -> str:
    """One line per pack."""
    described = [get_pack(name) for name in available_packs()]
    rows = [
        (
            f"`pack:{pack.name}`",
            pack.summary,
            f"{pack.expected_rows:,}",
            "in the package" if pack.embedded else f"{pack.download_size / 1e6:.0f} MB to fetch",
            pack.licence,
        )
        for pack in described
    ]
    return table(("pack", "what", "rows", "where", "licence"), rows)


def columns() -> str:
    """One line per column that a row may have."""
    rows = [
        (f"`{made.option}`", made.about, ", ".join(f"`{name}`" for name in made.names) or "asked for only")
        for made in declarations().values()
    ]
    return table(("option", "what its cells hold", "guessed by the name"), rows)


def encoders() -> str:
    """One line per encoder."""
    order = list(dict.fromkeys(one.modality for one in DECLARATIONS))
    rows = []
    for one in sorted(DECLARATIONS, key=lambda one: order.index(one.modality)):
        streams = sorted(
            one.gives - {"pooled", "tokens"}, key=lambda name: (name.rstrip("0123456789"), len(name), name)
        )
        rows.append((one.modality, shown(one), one.about, ", ".join(streams), one.weights or "none"))
    return table(("modality", "name", "what it is", "streams", "pretrained"), rows)


def encoder_settings() -> str:
    """The settings of every encoder; encoders that share them in one section."""
    named: dict[str, list[str]] = {}
    for one in DECLARATIONS:
        named.setdefault(one.config.replace(":", "."), []).append(shown(one))
    return "\n\n".join(f"### {', '.join(names)}\n\n{settings(config)}" for config, names in named.items())


def shown(one: Declaration) -> str:
    """How an encoder is written, as code where it is a name."""
    return one.written if not one.name else ", ".join(f"`{form}`" for form in one.written.split(", "))


def tasks() -> str:
    """One line per task, in the order in which they are run; those that have to be named last."""
    found = sorted(get_tasks(), key=lambda task: (task.order is None, task.order))
    rows = [(f"`{task.name}`", task.measures, needed(task.needs), unasked(task)) for task in found]
    return table(("task", "what is measured", "needs", "run without being named"), rows)


def needed(needs: Iterable[Need]) -> str:
    """What is needed, one after the other."""
    return "; ".join(need.words for need in needs)


def unasked(task: Task) -> str:
    """When a task is run where none is named."""
    if task.order is None:
        return "no"
    return f"with {needed(task.usual)}" if task.usual else "yes"


def task_options() -> str:
    """The options of all tasks, under the names by which they are set."""
    rows = [
        (f"`{task.name}.{name}`", default_of(field), field.description or "")
        for task in get_tasks()
        for name, field in task.options.model_fields.items()
    ]
    return table(("option", "default", "meaning"), rows)


def measures() -> str:
    """One line per measure of ``accord probe``."""
    rows = [
        (
            f"`{measure.name}`",
            measure.says,
            measure.needs or "vectors",
            measure.draws,
            "yes" if measure.in_report else "",
        )
        for measure in get_measures()
    ]
    return table(("measure", "what it says", "needs", "what the figure shows", "in the report"), rows)


def cards() -> str:
    """One section per card: what it is for, settings, traps."""
    return "\n\n".join(card_section(card) for card in list_cards())


def card_section(card: PaperCard) -> str:
    """Everything on a card as Markdown."""
    own = (ROOT / "docs" / "methods" / f"{card.slug}.md").is_file()
    facts = {
        "More": f"[how it works, with a picture](methods/{card.slug}.md)" if own else "",
        "Paper": f"[{card.title}]({card.url}), {card.citation}" if card.url else card.citation,
        "For": card.use,
        "How it works": card.summary,
        "Code of the authors": f"<{card.code}>" if card.code else "",
        "Takes": card.inputs,
        "Gives": card.gives,
        "The paper trains with": card.recipe,
        "Measured against": ", ".join(f"`{slug}`" for slug in card.baselines),
        "Status": card.status,
    }
    parts = [f"## {card.slug}", "" if card.url else f"*{card.title}*"]
    parts.append("\n".join(f"- **{name}**: {value}" for name, value in facts.items() if value))
    parts.append(f"```bash\n{card.example}\n```" if card.example else "")
    if rows := [(f"`{s.name}`", f"`{s.default}`", s.allowed, s.description) for s in settings_of(card.slug)]:
        parts.append(table(("setting (`--set method.NAME=…`)", "default", "allowed", "meaning"), rows))
    parts += listed("What goes wrong silently, and what is done about it", card.traps)
    parts += listed(
        "What has to be true for it to be worth its cost, and what was found", map(with_verdicts, card.claims)
    )
    return "\n\n".join(part for part in parts if part)


def listed(heading: str, items: Iterable[str]) -> list[str]:
    """A heading and its list, or nothing."""
    lines = "\n".join(f"- {item}" for item in items)
    return [f"**{heading}**", lines] if lines else []


def verdicts(slug: str) -> str:
    """The claims of a card with what was found; of a page on several methods, those that its claims ask for."""
    cards = list_cards()
    own = next((card.claims for card in cards if card.slug == slug), ())
    asked = [claim for card in cards for claim in card.claims if f"{slug}/" in " ".join(claim.questions)]
    return "\n".join(f"- {with_verdicts(claim)}" for claim in own or asked)


def with_verdicts(claim: CardClaim) -> str:
    """A claim of a card, with the questions that were put to it and the answers below it."""
    if not claim.questions:
        return f"{claim.says} *Not measured: no claim asks for it.*"
    asked = [f"    - {{claim:{question}}} {line_of(question).statement}" for question in claim.questions]
    return "\n".join([claim.says, *asked])


def quoted(question: str, up: str) -> str:
    """The answer to a question as a link to its line on the page of claims, which is ``up`` from where it is quoted."""
    line = line_of(question)
    found = "" if line.found is None else f" {effect(line.found)}, seeds: {line.seeds}"
    stale = ", stale" if line.remark and line.found is not None else ""
    return f"[{badge(line)}{found}{stale}]({up}claims.md#{anchor(question)})"


def line_of(question: str) -> Line:
    """What is known of a question.

    Raises:
        PluginError: no claim asks it.
    """
    if question not in lines():
        raise PluginError(f"no claim asks {question!r}; accord claims list --check lists all questions")
    return lines()[question]


@cache
def lines() -> dict[str, Line]:
    """Name -> what is known of it, of all questions."""
    return {line.name: line for line in overview(CLAIMS, today())}


@cache
def today() -> dict[str, Declared]:
    """What the claim files say; loads all of them, once in a build."""
    return declared(CLAIMS)


def all_claims() -> str:
    """All questions in one table, and the figure of all effects, which comes in through :func:`on_files`."""
    return opening(CLAIMS, FIGURES, today())


def claims() -> str:
    """A section per claim that was measured; the figures come in through :func:`on_files`."""
    return details(CLAIMS, FIGURES) or "No claim has been measured yet."


def benchmarks() -> str:
    """Every benchmark's rows, machine and versions, from ``benchmarks/results/*.json``."""
    paths = sorted(path for path in MEASURED.glob("*.json") if path.stem not in ON_OTHER_PAGES)
    return "\n\n".join(benchmark_section(json.loads(path.read_text())) for path in paths)


def comparison() -> str:
    """The rows of all image–text methods on the same data."""
    return benchmark_section(json.loads((MEASURED / f"{COMPARISON}.json").read_text()))


def benchmark(name: str) -> str:
    """The rows of one benchmark; a sentence where it was not measured yet."""
    path = MEASURED / f"{name}.json"
    if path.is_file():
        return benchmark_table(json.loads(path.read_text()))
    return f"*Not measured yet: `python benchmarks/{name}.py` does it.*"


def benchmark_section(record: dict[str, Any]) -> str:
    """One benchmark under its name."""
    return f"## {record['benchmark']}\n\n{benchmark_table(record)}"


def benchmark_table(record: dict[str, Any]) -> str:
    """One benchmark as a table, with where it was measured."""
    header = list(record["rows"][0])
    rows = [[cell(row[name]) for name in header] for row in record["rows"]]
    machine = ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in record["machine"].items())
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return f"{table(header, rows)}\n\n*{machine}.* *{versions}.*"


def cell(value: Any) -> str:
    """A measured value as text: nothing where there is none, yes or no, three figures."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 1000 else str(value)


def import_seconds(distribution: str) -> str:
    """What the import benchmark measured for a dependency, e.g. ``1.20 s``."""
    record = json.loads((MEASURED / "import_time.json").read_text())
    measured = [row["seconds"] for row in record["rows"] if row["what"].endswith(f"({distribution})")]
    if not measured:
        raise PluginError(f"the import of {distribution} was never measured: make bench")
    return f"{measured[0]:.2f} s"


MAKERS: dict[str, Callable[[], str]] = {
    "columns": columns,
    "cards": cards,
    "tasks": tasks,
    "task options": task_options,
    "measures": measures,
    "packs": packs,
    "encoders": encoders,
    "encoder settings": encoder_settings,
    "all claims": all_claims,
    "claims": claims,
    "benchmarks": benchmarks,
    "comparison": comparison,
    "README.md": lambda: document("README.md"),
    "CHANGELOG.md": lambda: document("CHANGELOG.md"),
}
