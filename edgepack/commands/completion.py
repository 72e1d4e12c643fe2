"""``edgepack completion``: the script that lets a shell complete commands and options."""

from __future__ import annotations

import click


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of a SHELL.

    \b
    ~/.bashrc:                   eval "$(edgepack completion bash)"
    ~/.zshrc:                    eval "$(edgepack completion zsh)"
    ~/.config/fish/config.fish:  edgepack completion fish | source
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click {click.__version__} has no completion for {shell}")
    root = click.get_current_context().find_root().command
    click.echo(kind(root, {}, "edgepack", "_EDGEPACK_COMPLETE").source())
