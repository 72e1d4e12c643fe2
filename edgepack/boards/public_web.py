"""Opens addresses that a board has named: on the web only, never in this machine's own network."""

from __future__ import annotations

import http.client
import ipaddress
import urllib.request
from typing import Any


class PrivateAddressError(OSError):
    """An address that a board must not make this machine ask."""


def open_public(uri: str, timeout_s: float) -> http.client.HTTPResponse:
    """What lies at a public address, by http or https, also after redirects.

    Whoever is connected to is looked at before anything is sent, so that no name leads elsewhere
    by then. Where the user has set a proxy that connects, and decides by rules of its own.

    Raises:
        OSError: if it cannot be had, or the address is loopback, link-local or private.
        ValueError: if the address is none.
        http.client.HTTPException: if the answer is none.
    """
    opener = urllib.request.OpenerDirector()
    proxies = _Proxies()
    for handler in (
        proxies,
        urllib.request.UnknownHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Http(proxies),
        _Https(proxies),
    ):
        opener.add_handler(handler)
    answer: http.client.HTTPResponse = opener.open(uri, timeout=timeout_s)
    return answer


def is_public(address: str) -> bool:
    """Whether an IP address is one of the whole internet."""
    found = ipaddress.ip_address(address.partition("%")[0])
    found = getattr(found, "ipv4_mapped", None) or found
    return found.is_global and not found.is_multicast


class _Checked(http.client.HTTPConnection):
    def connect(self) -> None:
        super().connect()
        address = str(self.sock.getpeername()[0])
        if not is_public(address):
            self.close()
            raise PrivateAddressError(f"{self.host} is {address}, which is no public address")


class _CheckedTls(http.client.HTTPSConnection, _Checked):
    """Its own ``connect`` calls that of `_Checked` before it greets."""


class _Proxies(urllib.request.ProxyHandler):
    """The user's proxies, and which requests go to one."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[urllib.request.Request] = []

    def proxy_open(self, req: urllib.request.Request, proxy: str, type: str) -> Any:
        host = req.host
        answer = super().proxy_open(req, proxy, type)
        if req.host != host:
            self.taken.append(req)
        return answer


class _Http(urllib.request.HTTPHandler):
    def __init__(self, proxies: _Proxies) -> None:
        super().__init__()
        self._proxies = proxies

    def http_open(self, req: urllib.request.Request) -> Any:
        by_proxy = req in self._proxies.taken
        return self.do_open(http.client.HTTPConnection if by_proxy else _Checked, req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, proxies: _Proxies) -> None:
        super().__init__()
        self._proxies = proxies

    def https_open(self, req: urllib.request.Request) -> Any:
        by_proxy = req in self._proxies.taken
        return self.do_open(http.client.HTTPSConnection if by_proxy else _CheckedTls, req)
