"""The command line: one file per verb, each a thin, typed shell around a function of the package.

Exit codes: 0 done, 1 failure (one readable line on stderr; with ``--debug`` the traceback), 2 wrong usage, 130
interrupted. Verbs import what they need when they run, so that ``accord --help`` stays instant.
"""

from __future__ import annotations

from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup

from accord import __version__
from accord.cli import (
    caption,
    claims,
    clean,
    compare,
    data,
    detect_moments,
    discover,
    embed,
    evaluate,
    explain,
    export,
    ground,
    papers,
    probe,
    search,
    serve,
    train,
    transfer,
    zero_shot,
)
from accord.errors import AccordError
from accord.moved import VERBS

# Typer carries its own copy of click in some releases: the usage error is reached through what it exports.
_USAGE_ERROR = cast(type[Exception], typer.BadParameter.__mro__[1])
_AGAIN = {  # verbs that an interruption does not undo
    "compare": "; the same command with --resume goes on",
    "transfer": "; the same command with --resume goes on",
    "train": "; the same command with --resume goes on",
    "claims": "; the same command goes on with what is missing",
}


class AccordGroup(TyperGroup):
    """Turns every failure of a verb into one line and an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Accept ``--debug`` after the verb as well."""
        options = args[: args.index("--")] if "--" in args else args
        if "--debug" in options:
            args = ["--debug", *(arg for arg in options if arg != "--debug"), *args[len(options) :]]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a verb under a former name too, and say which it has now."""
        if args and args[0] in VERBS:
            _complain(f"{args[0]} is called {VERBS[args[0]]} now")
            args = [VERBS[args[0]], *args[1:]]
        two = " ".join(args[:2])  # `clean apply` is another verb than `clean`
        return super().resolve_command(ctx, [two, *args[2:]] if len(args) > 1 and two in self.commands else args)

    def invoke(self, ctx: Any) -> Any:
        """Run the verb; report what goes wrong."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, _USAGE_ERROR):
            raise
        except KeyboardInterrupt:
            again = _AGAIN.get(ctx.invoked_subcommand, "")
            _complain(f"interrupted{again}")
            raise typer.Exit(130) from None
        except BrokenPipeError:
            raise
        except Exception as error:
            if ctx.params["debug"]:
                raise
            _complain(_sentence(error))
            raise typer.Exit(1) from None


def _sentence(error: Exception) -> str:
    """One line for the user; what is not ours to explain says how to see more."""
    message = " ".join(str(error).split())
    if isinstance(error, AccordError):
        return f"error: {message}"
    return f"error: {type(error).__name__}: {message} (run again with --debug for the traceback)"


def _complain(line: str) -> None:
    typer.secho(line, fg="red", err=True)


app = typer.Typer(
    cls=AccordGroup,
    name="accord",
    help="Learn from pictures, words, sound and graphs that belong together; search, classify and clean with it.",
    epilog="First steps: accord train pack:emoji --epochs 3 --out runs/first",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"accord {__version__}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback when something fails.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that every verb shares; ``debug`` is read by :class:`AccordGroup`."""


app.command(epilog=train.EXAMPLE)(train.train)
app.command(epilog=evaluate.EXAMPLE)(evaluate.evaluate)
app.command(epilog=embed.EXAMPLE)(embed.embed)
app.command(epilog=search.EXAMPLE)(search.search)
app.command(epilog=caption.EXAMPLE)(caption.caption)
app.command("zero-shot", epilog=zero_shot.EXAMPLE)(zero_shot.zero_shot)
app.command(epilog=clean.EXAMPLE)(clean.clean)
app.command("clean apply", epilog=clean.APPLY_EXAMPLE)(clean.apply)
app.command(epilog=transfer.EXAMPLE)(transfer.transfer)
app.command(epilog=probe.EXAMPLE)(probe.probe)
app.command(epilog=discover.EXAMPLE)(discover.discover)
app.command("detect-moments", epilog=detect_moments.EXAMPLE)(detect_moments.detect_moments)
app.command(epilog=explain.EXAMPLE)(explain.explain)
app.command(epilog=ground.EXAMPLE)(ground.ground)
app.command(epilog=export.EXAMPLE)(export.export)
app.command(epilog=serve.EXAMPLE)(serve.serve)

app.command(epilog=compare.EXAMPLE)(compare.compare)
app.add_typer(data.app, name="data")
app.add_typer(claims.app, name="claims")
app.add_typer(papers.app, name="papers")


def main() -> None:
    """Entry point of the ``accord`` command."""
    app()
