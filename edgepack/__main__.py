"""The command line: finds commands by their files, and turns exceptions into exit codes."""

from __future__ import annotations

import errno
import os
import sys

import click

import edgepack
from edgepack import plugins
from edgepack.errors import EdgepackError, InputError
from edgepack.table import printable_lines

BUG = 70
INTERRUPTED = 130


class Commands(click.Group):
    """The commands in ``commands/``, imported when they are used or listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, sorted."""
        return [name.replace("_", "-") for name in plugins.names("commands")]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One command, or None if there is no such file."""
        name = cmd_name.replace("-", "_")
        if name not in plugins.names("commands"):
            return None
        found: click.Command = plugins.load("commands", name).command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by the first lines of their files, so that none is imported."""
        rows = [
            (n, plugins.purpose("commands", n.replace("-", "_"))) for n in self.list_commands(ctx)
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that was typed; a misspelt one gets the nearest as its hint."""
        known = self.list_commands(ctx)
        if args and not args[0].startswith("-") and args[0] not in known:
            raise InputError(f"there is no command {args[0]!r}", plugins.suggest(args[0], known))
        return super().resolve_command(ctx, args)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(edgepack.__version__, prog_name="edgepack")
def cli() -> None:
    """Make a trained model small, fast and proven on an edge device.

    \b
    edgepack build model.keras --target rpi4 --data digits
    edgepack bench build/model-rpi4-int8 --device local
    """


def main(args: list[str] | None = None) -> None:
    """Run a command and exit: 0 done, 70 a bug, 130 interrupted, or an error's own code."""
    _open_closed_streams()
    sys.exit(run(args))


def _open_closed_streams() -> None:
    """Let what would go to a closed stream go nowhere, and never into a file opened later."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def run(args: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    words = sys.argv[1:] if args is None else args
    try:
        result = cli.main(words or ["--help"], prog_name="edgepack", standalone_mode=False)
    except EdgepackError as error:
        return _fail(error, verbose=not {"-v", "--verbose"}.isdisjoint(words))
    except click.ClickException as error:
        return _fail(_as_input_error(error), verbose=False)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; what was finished is kept: type the same again", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    except OSError as error:
        return _fail_full(error)
    except Exception:
        return _fail_bug()
    return result if isinstance(result, int) else 0


def _fail_full(error: OSError) -> int:
    """A disk that is full wherever something was written, such as standard output."""
    if error.errno != errno.ENOSPC:
        return _fail_bug()
    return _fail(InputError("the disk is full", "make room and type the same again"), verbose=False)


def _fail_bug() -> int:
    """Show the exception that is being handled with its traceback."""
    import traceback

    traceback.print_exc()
    click.echo("error: this is a bug in edgepack; please report it with the lines above", err=True)
    return BUG


def _as_input_error(error: click.ClickException) -> InputError:
    """A misspelt option in the words of all other errors."""
    context = getattr(error, "ctx", None)
    message = error.format_message().rstrip(".")
    return InputError(
        message[:1].lower() + message[1:],
        f"type: {context.command_path if context else 'edgepack'} --help",
    )


def _fail(error: EdgepackError, *, verbose: bool) -> int:
    if verbose and error.__cause__:
        import traceback

        traceback.print_exception(error)
    click.echo(printable_lines(f"error: {error.message}"), err=True)
    if error.hint:
        click.echo(printable_lines(f"hint: {error.hint}"), err=True)
    return error.exit_code


if __name__ == "__main__":
    main()
