"""``accord papers``: the catalogue of methods."""

from __future__ import annotations

from typing import Annotated

import typer

from accord.cli import complete

LIST_EXAMPLE = """Example:

accord papers list"""

SHOW_EXAMPLE = """Example:

accord papers show capro"""

app = typer.Typer(help="What each method is for, what it takes, and its traps.", no_args_is_help=True)


@app.command("list", epilog=LIST_EXAMPLE)
def list_() -> None:
    """List all methods and the papers they come from."""
    from accord.cli.output import console
    from accord.papers.catalogue import list_cards
    from accord.papers.render import card_list

    console().print(card_list(list_cards()))


@app.command(epilog=SHOW_EXAMPLE)
def show(
    slug: Annotated[
        str,
        typer.Argument(
            autocompletion=complete.method_names, help="Name of a method, as `accord papers list` prints it."
        ),
    ],
) -> None:
    """Show one card: paper, use, inputs, settings with their defaults, traps, claims."""
    from accord.cli.output import console
    from accord.papers.catalogue import get_card, settings_of
    from accord.papers.render import card_page

    card = get_card(slug)
    console().print(card_page(card, settings_of(card.slug)))
