"""``accord papers``: the catalogue of methods, and new papers from feeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from accord.cli import complete, papers_mail

LIST_EXAMPLE = """Example:

accord papers list

accord papers list --modality video --status planned

accord papers list --feed --page 2"""

SHOW_EXAMPLE = """Example:

accord papers show capro"""

SEARCH_EXAMPLE = """Example:

accord papers search "prototypes for noisy web labels"

accord papers search "two modalities" --task retrieval --limit 5"""

SIMILAR_EXAMPLE = """Example:

accord papers similar capro"""

IMPORT_EXAMPLE = """Example:

accord papers import daily.json

accord papers import arxiv.atom --store papers.sqlite"""

TRENDING_EXAMPLE = """Example:

accord papers trending --limit 10"""

app = typer.Typer(
    help="What each method is for, what it takes, and its traps; new papers, and digests of them by mail.",
    no_args_is_help=True,
)

StoreOption = papers_mail.StoreOption
Modality = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", autocompletion=complete.filters_by("modality"), help="Only what reads it: image, text, video, …"
    ),
]
Task = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", autocompletion=complete.filters_by("task"), help="Only what is good for it: retrieval, …"
    ),
]
Status = Annotated[
    str | None,
    typer.Option(metavar="NAME", autocompletion=complete.filters_by("status"), help="ready, partial or planned."),
]
Limit = Annotated[int, typer.Option(min=1, help="How many on a page.")]
Page = Annotated[int, typer.Option(min=1, help="Which page.")]


@app.command("list", epilog=LIST_EXAMPLE)
def list_(
    feed: Annotated[bool, typer.Option("--feed", help="Imported papers instead, the newest first.")] = False,
    modality: Modality = None,
    task: Task = None,
    status: Status = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="How many on a page. Default: all methods, 20 imported papers.")
    ] = None,
    page: Page = 1,
    store: StoreOption = None,
) -> None:
    """List all methods and the papers they come from, or the papers that were imported."""
    from accord.cli.output import console
    from accord.papers.catalogue import list_cards
    from accord.papers.finding import items
    from accord.papers.render import card_list

    if not feed:
        chosen = {item.name for item in items(modality=modality, task=task, status=status)}
        cards = [card for card in list_cards() if card.slug in chosen]
        console().print(card_list(cards if limit is None else cards[(page - 1) * limit : page * limit]))
        return
    from accord.papers.listing import paper_list
    from accord.papers.store import Store

    if modality or task or status:
        raise typer.BadParameter("--modality, --task and --status are of methods; imported papers have none")
    limit = limit or 20
    with Store(store) as opened:
        console().print(paper_list((paper, "") for paper in opened.papers(limit=limit, offset=(page - 1) * limit)))
        _count(opened.count(), limit, page)


@app.command(epilog=SHOW_EXAMPLE)
def show(
    slug: Annotated[
        str,
        typer.Argument(autocompletion=complete.card_names, help="Name of a card, as `accord papers list` prints it."),
    ],
) -> None:
    """Show one card: paper, use, inputs, settings with their defaults, traps, claims."""
    from accord.cli.output import console
    from accord.papers.catalogue import get_card, settings_of
    from accord.papers.render import card_page

    card = get_card(slug)
    console().print(card_page(card, settings_of(card.slug)))


@app.command(epilog=SEARCH_EXAMPLE)
def search(
    query: Annotated[str, typer.Argument(help="What you look for, in your words.")],
    modality: Modality = None,
    task: Task = None,
    status: Status = None,
    limit: Limit = 10,
    page: Page = 1,
    store: StoreOption = None,
) -> None:
    """Search methods and imported papers by what they do, or by name."""
    from accord.papers.finding import find

    _show_answer(find(query, _among(store, modality, task, status), limit, (page - 1) * limit), limit, page)


@app.command(epilog=SIMILAR_EXAMPLE)
def similar(
    name: Annotated[
        str,
        typer.Argument(autocompletion=complete.card_names, help="A card, or an imported paper as paper:NUMBER."),
    ],
    modality: Modality = None,
    task: Task = None,
    status: Status = None,
    limit: Limit = 5,
    page: Page = 1,
    store: StoreOption = None,
) -> None:
    """List what is nearest to a method or an imported paper."""
    from accord.papers import finding

    among = _among(store, modality, task, status)
    _show_answer(finding.similar(name, among, limit, (page - 1) * limit), limit, page)


@app.command("import", epilog=IMPORT_EXAMPLE)
def import_(
    file: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, help="Atom (such as arXiv's), RSS, or JSON with a list of papers."),
    ],
    store: StoreOption = None,
) -> None:
    """Take in new papers from a feed; what is known is brought up to date, what is broken is listed and left out."""
    from accord.papers.feeds import read_feed
    from accord.papers.store import Store

    feed = read_feed(file)
    with Store(store) as opened:
        done = opened.add(feed)
        typer.echo(f"new: {done.new}, updated: {done.updated}, unchanged: {done.unchanged}, left out: {done.broken}")
        typer.echo(f"store: {opened.path}")
    for item in feed.broken:
        title = f" ({item.title})" if item.title else ""
        typer.secho(f"left out: {item.place}{title}: {item.reason}", err=True, fg="yellow")


@app.command(epilog=TRENDING_EXAMPLE)
def trending(limit: Limit = 20, page: Page = 1, store: StoreOption = None) -> None:
    """List imported papers by votes / (days + 2)^1.5, the highest first."""
    from accord.cli.output import console
    from accord.papers import trending as ranking
    from accord.papers.listing import paper_list
    from accord.papers.store import Store

    with Store(store) as opened:
        scored = ranking.trending(opened, limit, (page - 1) * limit)
        console().print(paper_list((paper, f"score {score:.2f}") for paper, score in scored))
        _count(opened.count(), limit, page)


def _among(store: Path | None, modality: str | None, task: str | None, status: str | None) -> list[Any]:
    """Cards and imported papers; a search makes no store."""
    from accord.papers.finding import items
    from accord.papers.store import Store, usual_store

    if store is None and not usual_store().is_file():
        return items(modality=modality, task=task, status=status)
    with Store(store) as opened:
        return items(opened, modality, task, status)


def _show_answer(answer: Any, limit: int, page: int) -> None:
    from accord.cli.output import console
    from accord.papers.listing import answer_page

    console().print(answer_page(answer))
    _count(answer.total, limit, page, what="answers")


def _count(total: int, limit: int, page: int, what: str = "papers") -> None:
    """Which page this is; what to do where there is nothing."""
    pages = -(-total // limit)
    if total == 0:
        typer.echo("nothing was imported yet: accord papers import FILE" if what == "papers" else "nothing was found")
    elif pages > 1:
        typer.echo(f"page {page} of {pages}, {total} {what}")


papers_mail.add_to(app)
