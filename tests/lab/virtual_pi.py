"""A virtual Raspberry Pi by one command; README.md beside this file tells more."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from lab import image
from lab.boards import ARCHITECTURES, MODELS
from lab.machine import VirtualPi

PORTS = {"arm64": 2224, "armhf": 2225}
OFF = 3
"""The exit code of `status` where the board is off."""


def main(words: list[str]) -> int:
    """Do what the command line says; the exit code is 1 where that fails."""
    given = parser().parse_args(words)
    try:
        answer = given.run(given)
    except RuntimeError as error:
        image.say(f"error: {error}")
        return 1
    sys.stdout.write(f"{answer}\n")
    return OFF if answer == "off" else 0


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--arch", choices=ARCHITECTURES, default="arm64", help="of its programs")
    common.add_argument("--port", type=int, help="on 127.0.0.1; 2224 for arm64, 2225 for armhf")
    common.add_argument("--board", choices=MODELS, default="pi4", help="what it is to be")
    top = argparse.ArgumentParser(prog="virtual_pi.py", description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for run in (up, build, stop, status, clean):
        command = commands.add_parser(run.__name__, help=run.__doc__, parents=[common])
        command.set_defaults(run=run)
    return top


def up(given: argparse.Namespace) -> str:
    """build what is missing, start a fresh board, print how to log in"""
    pi = board(given, image.build(given.arch))
    if not pi.pid:
        image.say(f"up in {pi.start(lasting=True):.1f} s")
    return " ".join(pi.ssh())


def build(given: argparse.Namespace) -> str:
    """build the image and start nothing"""
    return str(image.build(given.arch).folder)


def stop(given: argparse.Namespace) -> str:
    """cut the board's power"""
    board(given, image.image_of(given.arch)).stop()
    return "stopped"


def status(given: argparse.Namespace) -> str:
    """say whether the board is on; exit with 3 where it is off"""
    return "on" if board(given, image.image_of(given.arch)).pid else "off"


def clean(given: argparse.Namespace) -> str:
    """cut the board's power and remove all that is kept for it"""
    stop(given)
    shutil.rmtree(image.cache(given.arch), ignore_errors=True)
    return "removed"


def board(given: argparse.Namespace, of: image.Image) -> VirtualPi:
    """The board that the command line means."""
    port = given.port or PORTS[given.arch]
    return VirtualPi(of, image.cache(given.arch) / f"run-{port}", port=port, board=given.board)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
