"""Logs in to a server: by keys, then by a password."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from paramiko import (
    AuthenticationException,
    BadAuthenticationType,
    SSHException,
    Transport,
)

from edgepack.errors import DeviceError
from edgepack.ssh.faults import DroppedError
from edgepack.ssh.keys import Keys
from edgepack.ssh.route import Hop
from edgepack.ssh.secrets import PASSWORD, ask, can_ask, password_from_environment

BY_PASSWORD = {"password", "keyboard-interactive"}


def log_in(transport: Transport, hop: Hop, *, device: bool, through: Sequence[Hop] = ()) -> None:
    """Log in by what the agent, the user's files, the environment and the user have.

    Args:
        transport: whose host key was checked.
        hop: the server.
        device: whether it is the device itself; only that gets the password of the environment.
        through: the servers on the way to it; the same address behind others is another server.

    Raises:
        DeviceError: if the server lets nobody in by these.
    """
    login = _Login(transport, hop, tuple(through))
    if login.attempt("nothing", partial(transport.auth_none, hop.user)):
        return
    with Keys(hop) as keys:
        if not login.by_keys(keys) and not login.by_password(device=device):
            raise login.refusal(keys)


@dataclass
class _Login:
    """What was tried so far, and which ways in the server still takes."""

    transport: Transport
    hop: Hop
    through: tuple[Hop, ...] = ()
    methods: tuple[str, ...] = ()
    tried: list[str] = field(default_factory=list)

    def attempt(self, words: str, call: Callable[[], list[str]]) -> bool:
        """Whether one attempt led in; a server that wants a second proof says by which method."""
        self.tried.append(words)
        try:
            self.methods = tuple(call())
        except BadAuthenticationType as error:
            self.methods = tuple(error.allowed_types)
        except AuthenticationException as error:
            if not self.transport.is_active():
                raise self._thrown_out(error) from error
            if "timeout" in str(error):
                raise DroppedError(f"{self.hop} does not answer to the login") from error
        except (SSHException, EOFError, OSError) as error:
            raise self._thrown_out(error) from error
        return self.transport.is_authenticated()

    def by_keys(self, keys: Keys) -> bool:
        for words, key in keys if "publickey" in self.methods else ():
            if self.attempt(words, partial(self.transport.auth_publickey, self.hop.user, key)):
                return True
            if "publickey" not in self.methods:
                return False
        return False

    def by_password(self, *, device: bool) -> bool:
        if not set(self.methods) & BY_PASSWORD:
            return False
        if device and (secret := password_from_environment()):
            return self._try_password(f"the password of {PASSWORD}", secret)
        way = f" through {', '.join(map(str, self.through))}" if self.through else ""
        words = f"password of {self.hop}{way}: "
        found = ask(words, lambda typed: typed if self._try_password("a password", typed) else None)
        if found and not self.transport.is_authenticated():
            return self._try_password("the password from before", found)
        return self.transport.is_authenticated()

    def refusal(self, keys: Keys) -> DeviceError:
        """Why nobody was let in, and what to do."""
        tried = ", ".join([*self.tried[1:], *keys.useless]) or "there was nothing to try"
        message = f"{self.hop} lets nobody in by these: {tried}"
        if keys.locked:
            path = keys.locked[0]
            return DeviceError(
                f"{message}; the key {path} needs a passphrase", f"type: ssh-add {path}"
            )
        host = f"-p {self.hop.port} {self.hop.user}@{self.hop.host}"
        hint = f"put a key there: ssh-copy-id {host}"
        if set(self.methods) & BY_PASSWORD and not can_ask():
            hint += f"; or set {PASSWORD}, or run this at a terminal, which asks for the password"
        return DeviceError(f"{message}; it takes: {', '.join(self.methods)}", hint)

    def _try_password(self, words: str, secret: str) -> bool:
        return self.attempt(words, partial(self.transport.auth_password, self.hop.user, secret))

    def _thrown_out(self, error: Exception) -> DeviceError:
        if len(self.tried) < 2:
            return DroppedError(f"{self.hop} closed the connection before the login")
        return DeviceError(
            f"{self.hop} closed the connection at the login, after: {', '.join(self.tried[1:])}",
            "it may take fewer attempts; name the right key by IdentityFile, and "
            f"IdentitiesOnly yes, in ~/.ssh/config ({error})",
        )
