"""Files for boards: from the cache, a wheelhouse, pip's index or a distribution's server."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from lab.ports import free_ports

from edgepack.boards import archives, debian, public_web
from edgepack.boards.archives import Archive, obtain, obtain_wheels
from edgepack.boards.wheels import Wheel
from edgepack.errors import DeviceError, InputError
from edgepack.progress import Progress, silent
from edgepack.transport import Completed

CONTENT = b"what the board needs"
NAME = "tiny-1.0-cp311-cp311-manylinux_2_17_aarch64.manylinux2014_aarch64.whl"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, and a pip that knows no index and no settings."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("EXTRA_INDEX_URL", "FIND_LINKS", "CONSTRAINT", "INDEX_URL"):
        monkeypatch.delenv(f"PIP_{name}", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return tmp_path / "cache/edgepack"


def archive(content: bytes = CONTENT, name: str = "file.deb") -> Archive:
    return Archive("debian", name, hashlib.sha256(content).hexdigest())


def writer(content: bytes, calls: list[Path] | None = None) -> Callable[[Path], None]:
    def fetch(folder: Path) -> None:
        if calls is not None:
            calls.append(folder)
        (folder / "file.deb").write_bytes(content)

    return fetch


def tiny_wheel(folder: Path, text: str = "") -> Wheel:
    """A wheel that pip takes."""
    folder.mkdir(exist_ok=True)
    info = "tiny-1.0.dist-info"
    with zipfile.ZipFile(folder / NAME, "w") as file:
        file.writestr("tiny/__init__.py", text)
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: false\n")
        file.writestr(f"{info}/RECORD", "")
    return Wheel(NAME, hashlib.sha256((folder / NAME).read_bytes()).hexdigest())


def test_file_is_fetched_once_and_checked_every_time(cache: Path) -> None:
    calls: list[Path] = []
    fetch = writer(CONTENT, calls)
    path = obtain(archive(), fetch)
    assert path == cache / "debian/file.deb" and path.read_bytes() == CONTENT
    assert obtain(archive(), fetch) == path and len(calls) == 1
    path.write_bytes(CONTENT[:-1])
    assert obtain(archive(), fetch).read_bytes() == CONTENT
    assert len(calls) == 2


def test_changed_content_is_refused_and_not_kept(cache: Path) -> None:
    with pytest.raises(DeviceError, match="not the file that is wanted") as caught:
        obtain(archive(), writer(b"something else"))
    assert "--wheelhouse" in caught.value.hint
    assert list((cache / "debian").iterdir()) == []


def test_two_sessions_fetch_a_file_once() -> None:
    calls: list[Path] = []

    def slowly(folder: Path) -> None:
        calls.append(folder)
        time.sleep(0.3)
        (folder / "file.deb").write_bytes(CONTENT)

    threads = [threading.Thread(target=obtain, args=(archive(), slowly)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_cache_that_cannot_be_written_is_named(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "debian").write_text("a file where a folder should be")
    with pytest.raises(InputError, match="cannot be written") as caught:
        obtain(archive(), writer(CONTENT))
    assert "XDG_CACHE_HOME" in caught.value.hint


# A wheelhouse


def never(folder: Path) -> None:
    raise AssertionError("nothing is to be fetched")


def test_wheelhouse_is_used_where_it_lies(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "file.deb").write_bytes(CONTENT)
    assert obtain(archive(), never, tmp_path) == tmp_path / "file.deb"
    assert not (cache / "debian").exists()


def test_wheelhouse_may_call_a_file_as_the_server_does(tmp_path: Path) -> None:
    (tmp_path / "python3-numpy_1.24.deb").write_bytes(CONTENT)
    wanted = Archive(
        "debian", "python3-numpy_1%3a1.24.deb", archive().sha256, ("python3-numpy_1.24.deb",)
    )
    assert obtain(wanted, never, tmp_path).name == "python3-numpy_1.24.deb"


def test_wheelhouse_with_other_content_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file.deb").write_bytes(b"something else")
    with pytest.raises(DeviceError, match=r"file\.deb is not the file that is wanted") as caught:
        obtain(archive(), never, tmp_path)
    assert "--wheelhouse" in caught.value.hint


def test_wheelhouse_that_lacks_a_file_is_told_which(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"has no file\.deb"):
        obtain(archive(), never, tmp_path)


# pip


def test_pip_fetches_a_wheel_for_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tiny_wheel(tmp_path / "index")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    said: list[Progress] = []
    (path,) = obtain_wheels([wheel], None, said.append)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == wheel.sha256
    assert [(p.task, p.note) for p in said] == [("fetch", NAME)]
    monkeypatch.setenv("PIP_FIND_LINKS", "/nonexistent")
    assert obtain_wheels([wheel], None, said.append) == (path,) and len(said) == 1


def test_pip_refuses_a_wheel_with_another_hash(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tiny_wheel(tmp_path / "right")
    tiny_wheel(tmp_path / "index", "import os")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    with pytest.raises(DeviceError, match=r"(?i)hashes") as caught:
        obtain_wheels([wheel], None, silent)
    assert NAME in caught.value.hint
    assert list((cache / "wheels").iterdir()) == []


def test_without_a_connection_the_files_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple")
    other = Wheel(NAME.replace("tiny", "other"), "0" * 64)
    begin = time.monotonic()
    with pytest.raises(DeviceError, match="no connection to the package index") as caught:
        obtain_wheels([Wheel(NAME, "0" * 64), other], None, silent)
    assert time.monotonic() - begin < 30
    assert "--wheelhouse" in caught.value.hint
    assert NAME in caught.value.hint and other.name in caught.value.hint


def test_index_without_the_wheel_is_told(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"tiny==1\.0"):
        obtain_wheels([Wheel(NAME, "0" * 64)], None, silent)


def test_environment_without_pip_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare/bin/python"))
    with pytest.raises(DeviceError, match="has no pip"):
        obtain_wheels([Wheel(NAME, "0" * 64)], None, silent)


def test_pip_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "PIP_TIMEOUT_S", 0.01)
    with pytest.raises(DeviceError, match=r"pip had not ended after 0\.01 s"):
        obtain_wheels([Wheel(NAME, "0" * 64)], None, silent)


# Packages of a distribution


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """A file server; its address."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def package(uri: str, content: bytes = CONTENT, size: int = len(CONTENT)) -> debian.Package:
    name = "python3-numpy_1%3a1.24.2-1+deb12u1_armhf.deb"
    return debian.Package(uri, name, size, hashlib.sha256(content).hexdigest())


@pytest.fixture
def all_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server of a test lies on this machine."""
    monkeypatch.setattr(public_web, "is_public", lambda _: True)


@pytest.mark.usefixtures("all_public")
def test_package_is_fetched_from_where_apt_says(tmp_path: Path) -> None:
    (tmp_path / "a b.deb").write_bytes(CONTENT)
    said: list[Progress] = []
    with server(tmp_path) as address:
        (path,) = debian.obtain_packages([package(f"{address}/a%20b.deb")], None, said.append)
    assert path.read_bytes() == CONTENT and said[0].total == len(CONTENT)


@pytest.mark.usefixtures("all_public")
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (CONTENT[:-1], "19 of 20 bytes came"),
        (CONTENT + b"!", "not the file that is wanted"),
        (b"!" + CONTENT[1:], "not the file that is wanted"),
    ],
)
def test_package_with_other_content_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.deb").write_bytes(content)
    with server(tmp_path) as address, pytest.raises(DeviceError, match=said):
        debian.obtain_packages([package(f"{address}/a.deb")], None, silent)


@pytest.mark.usefixtures("all_public")
def test_package_that_cannot_be_had_is_told_with_a_command(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with server(tmp_path) as address:
        for uri in (f"http://127.0.0.1:{port}/a.deb", f"{address}/a.deb", "file:///etc/passwd"):
            with pytest.raises(DeviceError, match=uri) as caught:
                debian.obtain_packages([package(uri)], None, silent)
            assert "sudo apt-get install python3-numpy;" in caught.value.hint


class Elsewhere(Quiet):
    """Sends everybody to another address; counts who came."""

    to = "file:///etc/passwd"
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(302)
        self.send_header("Location", self.to)
        self.end_headers()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "%31%32%37.0.0.1", "127.1"])
def test_a_board_cannot_make_this_machine_ask_its_own_network(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setattr(Elsewhere, "asked", [])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as running:
        threading.Thread(target=running.serve_forever).start()
        uri = f"http://{host}:{running.server_address[1]}/a.deb"
        with pytest.raises(DeviceError, match="which is no public address") as caught:
            debian.obtain_packages([package(uri)], None, silent)
        running.shutdown()
    assert Elsewhere.asked == [] and "--wheelhouse" in caught.value.hint


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://deb.example/a.deb", "data:,x"])
@pytest.mark.usefixtures("all_public")
def test_a_redirect_leads_to_the_web_only(monkeypatch: pytest.MonkeyPatch, to: str) -> None:
    monkeypatch.setattr(Elsewhere, "to", to)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as running:
        threading.Thread(target=running.serve_forever).start()
        uri = f"http://127.0.0.1:{running.server_address[1]}/a.deb"
        with pytest.raises(DeviceError, match=r"not allowed|unknown url type"):
            debian.obtain_packages([package(uri)], None, silent)
        running.shutdown()


def test_the_proxy_of_the_user_may_be_private(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(public_web, "is_public", lambda address: address != "127.0.0.1")
    monkeypatch.setattr(Elsewhere, "asked", [])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as running:
        threading.Thread(target=running.serve_forever).start()
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{running.server_address[1]}")
        monkeypatch.setenv("no_proxy", "")
        with pytest.raises(DeviceError):
            debian.obtain_packages([package("http://deb.example/a.deb")], None, silent)
        running.shutdown()
    assert Elsewhere.asked == ["http://deb.example/a.deb"]


@pytest.mark.parametrize(
    ("address", "public"),
    [
        *(("151.101.2.132", True), ("2a04:4e42::644", True)),
        *(("127.0.0.1", False), ("::1", False), ("10.0.0.7", False), ("192.168.1.2", False)),
        *(("169.254.169.254", False), ("fe80::1%eth0", False), ("fd00::1", False)),
        *(("::ffff:10.0.0.7", False), ("0.0.0.0", False), ("224.0.0.1", False)),
    ],
)
def test_addresses_of_the_whole_internet(address: str, public: bool) -> None:
    assert public_web.is_public(address) == public


def test_more_packages_than_edgepack_fetches_are_refused() -> None:
    with pytest.raises(DeviceError, match="they are 300 MB together") as caught:
        debian.obtain_packages([package("http://deb.example/a", size=3 * 10**8)], None, silent)
    assert "--wheelhouse" in caught.value.hint


SHA_A, SHA_B = f"SHA256:{'a' * 64}", f"SHA256:{'b' * 64}"
NUMPY_DEB = "python3-numpy_1%3a1.24.2-1+deb12u1_armhf.deb"
SAID = f"""\
Reading package lists...
The following packages will be upgraded:
  libc6
'http://deb.example/l/libblas3_3.11.0-2_armhf.deb' libblas3_3.11.0-2_armhf.deb 104620 {SHA_A}
'http://deb.example/g/libc6_2.36-9_armhf.deb' libc6_2.36-9_armhf.deb 1 {SHA_A}
'http://deb.example/p/python3.11_3.11.2_armhf.deb' python3.11_3.11.2_armhf.deb 1 {SHA_A}
'http://deb.example/n/python3-numpy_1.24.2-1%2bdeb12u1_armhf.deb' {NUMPY_DEB} 4092932 {SHA_B}
"""
"""Constructed after what apt 2.6.1 prints, with two packages that must be left out."""


class Board:
    """A transport to a board whose apt gives one answer."""

    folder, python = ".edgepack", ""

    def __init__(self, returncode: int, stdout: str, stderr: str = "") -> None:
        self.answer = Completed(returncode, stdout.encode(), stderr)

    def run(self, argv: object, **_: object) -> Completed:
        return self.answer

    def close(self) -> None:
        pass


def test_what_apt_prints_is_read() -> None:
    found = debian.ask(Board(0, SAID), ["python3-numpy"])
    assert [p.package for p in found] == ["libblas3", "python3-numpy"]
    assert found[1].version == "1.24.2-1+deb12u1" and found[1].size_bytes == 4092932
    assert found[1].sha256 == "b" * 64 and "%2b" in found[1].uri


@pytest.mark.parametrize(
    "name", ["../../../a_1_all.deb", "/tmp/a_1_all.deb", "a.deb", "a/b_1_all.deb"]
)
def test_a_board_names_no_file_elsewhere(name: str) -> None:
    assert debian.parse(f"'http://deb.example/a.deb' {name} 1 {SHA_A}\n") == ()


@pytest.mark.parametrize(
    "board",
    [
        Board(100, "", "E: Unable to locate package python3-numpy"),
        Board(127, "", "env: 'apt-get': No such file or directory"),
        Board(0, SAID.replace("SHA256:", "MD5Sum:")),
        Board(0, ""),
    ],
)
def test_board_whose_apt_does_not_tell_gets_a_command(board: Board) -> None:
    with pytest.raises(DeviceError, match="its apt does not say where from") as caught:
        debian.ask(board, ["python3-numpy"])
    assert "sudo apt-get install -y python3-numpy" in caught.value.hint
