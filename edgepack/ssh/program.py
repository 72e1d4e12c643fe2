"""A program on a device: its words quoted, its streams, its exit code, its end."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from string import ascii_letters, digits

from paramiko import Channel, SSHException

from edgepack.errors import ConnectionLostError, DeviceError
from edgepack.ssh.bounded import within
from edgepack.ssh.connection import Connection
from edgepack.ssh.patience import Patience

PLAIN = frozenset(ascii_letters + digits + " _./,:=+-")
START = re.compile(rb"edgepack-starts (\d+)\n")
PIECE = 1 << 16
PACKET = 32_000
"""Just below what OpenSSH takes at once."""
HIGHEST_SIGNAL = 64
GOODBYE_S = 0.3
MOST_NOISE_BYTES = 1 << 20
"""What start-up files of a user may say before the program does."""


def command(argv: Sequence[str]) -> str:
    """The line that runs a program by its argument list, whatever the user's shell on the device.

    The shells sh, bash, zsh, fish and tcsh disagree on backslashes, line ends and exclamation
    marks even between quotes, so they get to see none: the text for ``sh`` is spelt in octal
    where it is not plain. ``sh`` first tells its number, which is the number of its group of
    processes, so that noise of the user's start-up files before it can be left out and the
    program can be killed; it outlives the program, so that a signal becomes an exit code.

    Raises:
        DeviceError: if an argument holds a zero byte.
    """
    if any("\0" in word for word in argv):
        raise DeviceError(f"an argument of {argv[0]} holds a zero byte")
    text = f"echo edgepack-starts $$; {shlex.join(argv)}; exit $?"
    octal = "".join(c if c in PLAIN else _octal(c) for c in text)
    return f"""exec sh -c 'eval "$(printf "{octal}")"'"""


def _octal(character: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogateescape"))


def returncode_of(status: int) -> int:
    """The exit code of a program by what ``sh`` says: 128+N where signal N killed it."""
    signal = status - 128
    return -signal if 0 < signal <= HIGHEST_SIGNAL else status


class RemoteProgram:
    """A `Program` in a channel of its own.

    Args:
        connection: to the device.
        channel: opened on it, for this program.
        argv: the program and its arguments.
        patience: how long a killed program may take to end.

    Raises:
        ConnectionLostError: if the connection drops; the program may run.
        DeviceError: if the server starts no program.
    """

    def __init__(
        self, connection: Connection, channel: Channel, argv: Sequence[str], patience: Patience
    ) -> None:
        self._connection, self._channel = connection, channel
        self._name, self._patience = argv[0], patience
        self._head, self._group = b"", 0
        try:
            channel.exec_command(command(argv))
        except (SSHException, EOFError, OSError) as error:
            if connection.ended(GOODBYE_S):
                raise self._lost() from error
            raise DeviceError(
                f"{connection.device} does not run {argv[0]}: its SSH server refuses commands",
                "allow commands for this user in the device's sshd_config",
            ) from error

    def write(self, data: memoryview) -> int:
        """Hand over input."""
        try:
            taken = self._channel.send(bytes(data[:PACKET]))
        except (SSHException, EOFError, OSError) as error:
            raise BrokenPipeError from error
        if not taken:
            raise BrokenPipeError
        return taken

    def end_input(self) -> None:
        """Close the input."""
        try:
            self._channel.shutdown_write()
        except (SSHException, EOFError, OSError) as error:
            raise BrokenPipeError from error

    def read(self) -> bytes:
        """The next piece of what the program itself writes to standard output."""
        while not self._group:
            piece = self._checked(self._channel.recv(PIECE))
            self._head += piece
            if found := START.search(self._head):
                self._group = int(found[1])
                self._head = self._head[found.end() :]
            elif not piece or len(self._head) > MOST_NOISE_BYTES:
                raise self._no_start()
        if self._head:
            piece, self._head = self._head, b""
            return piece
        return self._checked(self._channel.recv(PIECE))

    def read_error(self) -> bytes:
        """The next piece of standard error."""
        return self._checked(self._channel.recv_stderr(PIECE))

    def wait(self) -> int:
        """The exit code; -N where signal N killed the program."""
        status = self._channel.recv_exit_status()
        if status >= 0:
            return returncode_of(status)
        if self._connection.ended(GOODBYE_S):
            raise self._lost()
        raise DeviceError(
            f"{self._name} ended on {self._connection.device} without an exit code",
            "something killed its shell there; look for lack of memory: dmesg | tail",
        )

    def kill(self) -> None:
        """End the program and all that it started; where nothing is answered, the connection."""
        try:
            within(self._patience.kill_s, self._kill)
        except TimeoutError:
            self._connection.drop("answered no more")
        except (DeviceError, SSHException, EOFError, OSError):
            return

    def close(self) -> None:
        """Give the channel back."""
        if self._connection.alive:
            self._channel.close()

    def _kill(self) -> None:
        if self._group and self._connection.alive:
            channel = self._connection.open()
            channel.exec_command(f"kill -9 -{self._group} || kill -9 {self._group}")
            channel.recv_exit_status()
            channel.close()
        self.close()

    def _checked(self, piece: bytes) -> bytes:
        """An end that the server did not announce is none."""
        unannounced = not piece and not self._channel.eof_received
        if unannounced and self._connection.ended(GOODBYE_S):
            raise self._lost()
        return piece

    def _lost(self) -> ConnectionLostError:
        return self._connection.lost(f"{self._name} was running")

    def _no_start(self) -> DeviceError:
        said = self._head[-200:].decode("utf-8", "replace").strip().rsplit("\n", 1)[-1]
        return DeviceError(
            f"{self._connection.device} did not start {self._name}: {said or 'it said nothing'}",
            "the user there needs a shell that runs commands; try: ssh HOST true",
        )
