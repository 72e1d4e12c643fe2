"""Ask a board everything at once: one script with all facts, one answer taken apart again."""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgepack import plugins
from edgepack.boards.board import Board
from edgepack.errors import DeviceError
from edgepack.transport import Completed, Transport

TIMEOUT_S = 120.0
"""For all facts together: a Python that starts from a slow card takes seconds."""

FACT_TIMEOUT_S = 20
LIMIT_BYTES = 64 << 10
"""Of what is kept of one fact's answer."""

FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/vc/bin"
"""Looked into after the user's own PATH, which is short where no terminal is."""

SCRIPT = """
export LC_ALL=C PATH="$PATH:{folders}"
export EDGEPACK_FOLDER={folder} EDGEPACK_PYTHON={python}
exec 4>&1
limit=
timeout 9 true 2>/dev/null && limit='timeout {seconds}'
answer() {{
  printf '\\n%s begin %s\\n' {mark} "$1"
  shift
  code=$({{
    {{ $limit "$@" </dev/null 2>/dev/null 3>&- 4>&-; echo $? >&3; }} | head -c {limit} >&4
  }} 3>&1)
  printf '\\n%s end %s\\n' {mark} "$code"
}}
{calls}
exit 0
"""
"""Runs each fact for a limited time and passes a limited number of its bytes on.

The exit code of a fact takes another way (descriptor 3) than its answer (4), because a pipe's own
code is that of its last program.
"""


CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""What could steer a terminal; lines and tabs stay."""


@dataclass(frozen=True)
class Answer:
    """What one fact's command said.

    Attributes:
        text: its output, as far as it was kept, without control characters.
        code: its exit code; None where the answer has no end.
        cut: whether the output was longer than what is kept.
    """

    text: str
    code: int | None = 0
    cut: bool = False


def probe(transport: Transport) -> Board:
    """Look at a board, in one run of ``sh``.

    Raises:
        DeviceError: if it cannot be reached, or has no shell that answers.
    """
    mark = secrets.token_hex(16)
    commands = {name: plugins.load("facts", name).command() for name in plugins.names("facts")}
    script = compose(commands, mark, folder=transport.folder, python=transport.python)
    done = transport.run(["sh"], timeout_s=TIMEOUT_S, stdin=script.encode(), repeatable=True)
    answers = split(done.output, mark)
    if not answers:
        raise _no_shell(done)
    return read(answers)


def compose(
    commands: Mapping[str, Sequence[str]], mark: str, *, folder: str = "", python: str = ""
) -> str:
    """One shell script that runs every command and puts its answer between two marks.

    Args:
        commands: argument lists by the name of the fact.
        mark: a word that no answer can hold, because nobody can guess it.
        folder: where edgepack's files live on the board.
        python: the interpreter to ask first; empty for those on PATH only.
    """
    calls = [f"answer {shlex.quote(name)} {shlex.join(argv)}" for name, argv in commands.items()]
    return SCRIPT.format(
        folders=FOLDERS,
        folder=shlex.quote(folder),
        python=shlex.quote(python),
        seconds=FACT_TIMEOUT_S,
        limit=LIMIT_BYTES,
        mark=shlex.quote(mark),
        calls="\n".join(calls),
    )


def split(output: bytes, mark: str) -> dict[str, Answer]:
    """The answers by the names of their facts; what stands outside of marks is left out."""
    word = re.escape(mark.encode())
    pattern = rb"\n%s begin (\w+)\n(.*?)(?:\n%s end (\d{0,5})\n|\n%s begin |\Z)"
    found: dict[str, Answer] = {}
    position = 0
    while begun := re.compile(pattern % (word, word, word), re.DOTALL).search(output, position):
        name, text, code = begun.groups()
        cut = len(text) >= LIMIT_BYTES
        words = CONTROL.sub("\N{REPLACEMENT CHARACTER}", text.decode("utf-8", errors="replace"))
        found.setdefault(name.decode(), Answer(words, int(code) if code else None, cut))
        position = begun.end(2)
    return found


def read(answers: Mapping[str, Answer]) -> Board:
    """The board of some answers; a fact that nothing can be read from is a gap with a reason."""
    facts: dict[str, Mapping[str, Any]] = {}
    gaps: dict[str, str] = {}
    for name in plugins.names("facts"):
        facts[name], reason = _parse(name, answers.get(name))
        if reason:
            gaps[name] = reason
    return Board(facts, gaps)


def _parse(name: str, answer: Answer | None) -> tuple[Mapping[str, Any], str]:
    if answer is None:
        return {}, "the board gave no answer"
    try:
        fact: Mapping[str, Any] = plugins.load("facts", name).parse(answer.text)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        return {}, f"the answer cannot be read: {type(error).__name__}: {error}"
    if answer.code is None:
        return fact, "the answer has no end"
    if answer.cut:
        return fact, f"the answer is longer than {LIMIT_BYTES} bytes"
    if fact:
        return fact, ""
    return {}, "the board does not tell" if answer.code == 0 else f"exit code {answer.code}"


def _no_shell(done: Completed) -> DeviceError:
    words = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()
    return DeviceError(
        f"the device has no shell that answers: exit code {done.returncode}, it said "
        f"{words[-1][:200]!r}",
        "edgepack needs a POSIX shell (sh) for the user that it logs in as",
    )
