"""The options of commands that time models against one another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def timing_options(seconds: float) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options that say how long, how often and whom to trust.

    Args:
        seconds: of timed runs in each process, where the user says nothing.
    """
    options = (
        click.option(
            "--seconds",
            default=seconds,
            show_default=True,
            type=click.FloatRange(0, 3600),
            help="Shortest time of timed runs in each process.",
        ),
        click.option(
            "--processes",
            default=3,
            show_default=True,
            type=click.IntRange(2),
            help="Processes that time each model, in turns.",
        ),
        click.option(
            "--accept-new-host-key", is_flag=True, help="Take an unknown host key down as known."
        ),
    )

    def give(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return give
