"""An SSH server with a password that tests know, which OpenSSH's would take from the system."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Self

import paramiko
from lab.ports import HOST


class PasswordServer(paramiko.ServerInterface):
    """Lets a user in by the methods that a test wants, and answers every command alike.

    Attributes:
        methods: what is offered, with commas between.
        both: whether a key is only the first of two proofs, the password the second.
    """

    PASSWORD = "correct battery"

    def __init__(self) -> None:
        self.methods, self.both = "password", False
        self._key = paramiko.ECDSAKey.generate()
        self._listener = socket.create_server((HOST, 0))
        self._transports: list[paramiko.Transport] = []
        self.port = self._listener.getsockname()[1]
        self.known_hosts = f"[{HOST}]:{self.port} {self._key.get_name()} {self._key.get_base64()}\n"

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for transport in self._transports:
            transport.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                transport = paramiko.Transport(self._listener.accept()[0])
                transport.add_server_key(self._key)
                self._transports.append(transport)
                transport.start_server(threading.Event(), self)

    def get_allowed_auths(self, username: str) -> str:
        return self.methods

    def check_auth_none(self, username: str) -> int:
        return paramiko.AUTH_SUCCESSFUL if self.methods == "none" else paramiko.AUTH_FAILED

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        if not self.both:
            return paramiko.AUTH_FAILED
        self.methods = "password"
        return paramiko.AUTH_PARTIALLY_SUCCESSFUL

    def check_auth_password(self, username: str, password: str) -> int:
        right = "password" in self.methods and password == self.PASSWORD
        return paramiko.AUTH_SUCCESSFUL if right else paramiko.AUTH_FAILED

    def check_auth_interactive(self, username: str, submethods: str) -> paramiko.InteractiveQuery:
        return paramiko.InteractiveQuery("", "", ("Password: ", False))

    def check_auth_interactive_response(self, responses: list[str]) -> int:
        right = responses == [self.PASSWORD]
        return paramiko.AUTH_SUCCESSFUL if right else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=self._answer, args=(channel,), daemon=True).start()
        return True

    def _answer(self, channel: paramiko.Channel) -> None:
        time.sleep(0.05)  # the reply to the request goes first
        channel.sendall(b"edgepack-starts 1\nran\n")
        channel.send_exit_status(0)
        channel.close()
