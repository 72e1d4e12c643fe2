"""A runtime on a board: brought along, tried, found again, and what faults leave behind.

The board is a folder of this machine and a Python that has numpy; the runtimes are small wheels
whose interpreter is this environment's, or fails as a test wants it. test_installation_pi.py has
the real wheels and real boards.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from lab.fault_proxy import FaultProxy
from ssh_client import QUICK, Account

from edgepack.agent import install as program
from edgepack.boards import installer, wheels
from edgepack.boards.board import Board
from edgepack.boards.installation import Installation, Wish, provide
from edgepack.boards.wheels import Release, Table, Wheel
from edgepack.device import Device
from edgepack.errors import DeviceError
from edgepack.progress import Progress
from edgepack.transport import Completed, Transport
from edgepack.transports.local import Local

DEBIAN_PYTHON = "/usr/bin/python3"
TAG = f"cp{sys.version_info[0]}{sys.version_info[1]}"
WORKS = "from ai_edge_litert.interpreter import Interpreter"
CRASHES = "import os, signal\nos.kill(os.getpid(), signal.SIGILL)"
NEEDS_LIBRARY = """raise ImportError(
    "libstdc++.so.6: cannot open shared object file: No such file or directory")"""
NEEDS_GLIBC = 'raise ImportError("libc.so.6: version `GLIBC_2.99\' not found")'
MISCOUNTS = f"""{WORKS} as Real
class Interpreter(Real):
    def get_tensor(self, index):
        return super().get_tensor(index) + 1
"""


class FakeBoard(Local):
    """This machine as a board without a runtime; counts what is asked of it."""

    def __init__(self) -> None:
        super().__init__(Device("board"))
        self.python = ""
        self.runs: list[str] = []
        self.sent_bytes = 0

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        stdin: bytes | Iterable[bytes] = b"",
        repeatable: bool = False,
    ) -> Completed:
        self.runs.append(argv[0])
        content = stdin if isinstance(stdin, bytes) else b"".join(stdin)
        self.sent_bytes += len(content) + sum(len(word) for word in argv)
        return super().run(argv, timeout_s=timeout_s, stdin=content, repeatable=repeatable)

    def forget(self) -> None:
        self.runs, self.sent_bytes = [], 0

    @property
    def packages(self) -> Path:
        return Path(self.folder) / "packages"

    def installed(self) -> list[str]:
        """What lies there and may be taken for an installation."""
        return sorted(p.name for p in self.packages.iterdir() if not p.name.startswith("."))

    def rests(self) -> list[str]:
        return [p.name for p in self.packages.iterdir() if p.name.startswith(".part-")]


@pytest.fixture
def transport() -> Any:
    board = FakeBoard()
    yield board
    board.close()


def board(**python: Any) -> Board:
    """What a probe would find."""
    found = {
        "path": sys.executable,
        "version": platform.python_version(),
        "architecture": "x86_64",
        "implementation": "cpython",
        "glibc": "2.36",
        "libstdcxx": True,
        "missing": [],
        "packages": {"numpy": metadata.version("numpy")},
        **python,
    }
    return Board(
        {
            "python": {"interpreters": [found]},
            "libc": {"name": "glibc"},
            "cpu": {"name": "Cortex-A72"},
        }
    )


class Shop:
    """A wheelhouse of small runtimes and the table that pins them; the first one is preferred."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.releases: list[Release] = []
        self.wheels: list[Wheel] = []
        folder.mkdir()
        for module in (wheels, installer):
            monkeypatch.setattr(module, "table", self.table)

    def table(self) -> Table:
        return Table(tuple(self.releases), tuple(self.wheels), ("*/tests/*",))

    def sell(
        self,
        interpreter: str,
        version: str = "1.0",
        *,
        extra: int = 0,
        machine: str = "x86_64",
        numpy_from: str = "1.0",
    ) -> None:
        """Add a tflite-runtime with this source as its interpreter, and so many further bytes."""
        name = f"tflite_runtime-{version}-{TAG}-{TAG}-manylinux_2_17_{machine}.whl"
        with zipfile.ZipFile(self.folder / name, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("tflite_runtime/__init__.py", "")
            file.writestr("tflite_runtime/interpreter.py", interpreter)
            file.writestr("tflite_runtime/tests/__init__.py", "unused")
            file.writestr("tflite_runtime/zeros", bytes(extra))
            metadata_text = f"Metadata-Version: 2.1\nName: tflite-runtime\nVersion: {version}\n"
            file.writestr(f"tflite_runtime-{version}.dist-info/METADATA", metadata_text)
        digest = hashlib.sha256((self.folder / name).read_bytes()).hexdigest()
        self.wheels.append(Wheel(name, digest))
        glibc = {machine: "2.17"}
        self.releases.append(Release("tflite-runtime", version, numpy_from, "9", glibc))

    def wish(self, version: str = "") -> Wish:
        return Wish(version, self.folder)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Shop(tmp_path / "shop", monkeypatch)


def imported_from(found: Installation) -> str:
    """Where a program that is started as the agent is has its runtime from."""
    words = (
        f"import sys; sys.path[:0] = {list(found.packages)!r}; import tflite_runtime.interpreter"
    )
    done = subprocess.run(
        [*found.python, "-c", f"{words}; print(tflite_runtime.__file__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


# What works


def test_runtime_is_brought_along_once(transport: FakeBoard, shop: Shop) -> None:
    shop.sell(WORKS)
    said: list[Progress] = []
    found = provide(transport, board(), shop.wish(), said.append)
    assert (found.runtime, found.version, found.notes) == ("tflite-runtime", "1.0", ())
    assert found.python == (sys.executable,)
    assert imported_from(found).startswith(found.packages[0])
    assert {p.task for p in said} == {"runtime", "push"}
    transport.forget()
    assert provide(transport, board(), shop.wish()) == found
    assert transport.runs == [sys.executable] and transport.sent_bytes < 20_000


def test_what_is_not_used_and_what_was_sent_takes_no_room(transport: FakeBoard, shop: Shop) -> None:
    shop.sell(WORKS)
    provide(transport, board(), shop.wish())
    names = [path.name for path in Path(transport.folder).rglob("*")]
    assert "interpreter.py" in names and "tests" not in names
    assert not [name for name in names if name.endswith((".whl", ".part"))]
    assert transport.rests() == []


def test_unpacked_by_an_agent_as_the_benchmark_starts_it(transport: FakeBoard, shop: Shop) -> None:
    """The environment has ai-edge-litert, and what was brought along is measured all the same."""
    from edgepack import plugins
    from edgepack.runtime import Job

    shop.sell(WORKS)
    found = provide(transport, board(), shop.wish())
    litert = plugins.load("runtimes", "litert")
    (Path(transport.folder) / "agent.pyz").write_bytes(litert.agent())
    model = Path(transport.folder) / "model.tflite"
    model.write_bytes(trial_model())
    job = Job("model.tflite", "memory", packages=found.packages)
    done = transport.run(litert.command(found.python, "agent.pyz", job), timeout_s=60)
    (environment, *_) = [m.environment for m in litert.parse(done.stdout)]
    assert (environment["runtime"], environment["runtime_version"]) == ("tflite-runtime", "1.0")


def trial_model() -> bytes:
    import base64
    import zlib

    from edgepack.agent import trial

    return zlib.decompress(base64.b64decode(trial.MODEL))


def test_two_sessions_at_once_make_one_installation(transport: FakeBoard, shop: Shop) -> None:
    shop.sell(WORKS, extra=1 << 20)
    found: list[Installation] = []

    def work() -> None:
        found.append(provide(transport, board(), shop.wish()))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and len(set(found)) == 1
    assert len(transport.installed()) == 1 and transport.rests() == []


# What the board or the environment has itself


def test_runtime_of_the_board_is_used_where_that_is_wished_for(transport: FakeBoard) -> None:
    versions = {"numpy": metadata.version("numpy"), "ai-edge-litert": ""}
    found = provide(transport, board(packages=versions), Wish("installed"))
    assert found == Installation(
        (sys.executable,), (), "ai-edge-litert", metadata.version("ai-edge-litert")
    )
    with pytest.raises(DeviceError, match="neither ai-edge-litert nor tflite-runtime"):
        provide(transport, board(), Wish("installed"))


def test_runtime_of_the_board_is_used_where_no_wheel_fits(transport: FakeBoard, shop: Shop) -> None:
    shop.sell(WORKS)
    packages = {"numpy": "", "ai-edge-litert": ""}
    found = provide(transport, board(architecture="riscv64", packages=packages), shop.wish())
    assert found.runtime == "ai-edge-litert" and "riscv64" in found.notes[0]
    with pytest.raises(DeviceError, match="riscv64"):
        provide(transport, board(architecture="riscv64"), shop.wish())


def test_an_edge_tpu_gets_the_runtime_of_the_board_or_one_that_libedgetpu_bears(
    transport: FakeBoard, shop: Shop
) -> None:
    shop.sell(WORKS, "2.14.0")
    shop.sell(WORKS, "2.12.0")
    shop.sell(WORKS, "2.11.0")
    wish = replace(shop.wish(), edgetpu=True)
    found = provide(transport, board(), wish)
    assert (found.version, found.notes) == ("2.11.0", ())
    own = board(packages={"numpy": metadata.version("numpy"), "ai-edge-litert": ""})
    found = provide(transport, own, wish)
    assert found.runtime == "ai-edge-litert" and found.python == (sys.executable,)
    assert "libedgetpu 16.0 crashes with TFLite 2.12 and later" in found.notes[0]
    named = provide(transport, own, replace(wish, version="tflite-runtime==2.14.0"))
    assert named.version == "2.14.0" and "libedgetpu" in named.notes[0]


def test_an_edge_tpu_without_a_runtime_that_it_bears_is_told(
    transport: FakeBoard, shop: Shop
) -> None:
    shop.sell(WORKS, "2.14.0")
    shop.sell(WORKS, "2.11.0", machine="aarch64")
    with pytest.raises(DeviceError, match=r"libedgetpu 16\.0 crashes .* 2\.11\.0 fits") as caught:
        provide(transport, board(), replace(shop.wish(), edgetpu=True))
    assert "docs/coral.md" in caught.value.hint and not transport.packages.exists()


def test_a_crash_with_an_edge_tpu_names_libedgetpu(transport: FakeBoard, shop: Shop) -> None:
    shop.sell(CRASHES, "2.11.0")
    with pytest.raises(DeviceError, match=r"2\.11\.0 crashes with SIGILL") as caught:
        provide(transport, board(), replace(shop.wish(), edgetpu=True))
    assert "libedgetpu" in caught.value.hint and "--runtime-version" not in caught.value.hint


def test_device_with_a_python_of_its_own_is_left_as_it_is() -> None:
    transport = Local(Device("local"))
    version = metadata.version("ai-edge-litert")
    try:
        expected = Installation((sys.executable,), (), "ai-edge-litert", version)
        for wish in ("", "installed", "ai-edge-litert", f"ai-edge-litert=={version}"):
            assert provide(transport, board(), Wish(wish)) == expected
        with pytest.raises(DeviceError, match=f"has ai-edge-litert=={version}") as caught:
            provide(transport, board(), Wish("tflite-runtime==2.14.0"))
        assert "pip install tflite-runtime==2.14.0" in caught.value.hint
        assert list(Path(transport.folder).iterdir()) == []
    finally:
        transport.close()


# What does not work


@pytest.mark.parametrize(
    ("interpreter", "said"),
    [
        (CRASHES, "crashes with SIGILL on Cortex-A72"),
        (MISCOUNTS, "does not work on the device: a model gives"),
    ],
)
def test_runtime_that_crashes_or_miscounts_gives_way_to_the_next_one(
    transport: FakeBoard, shop: Shop, interpreter: str, said: str
) -> None:
    shop.sell(interpreter, "2.0")
    shop.sell(WORKS, "1.0")
    found = provide(transport, board(), shop.wish())
    assert found.version == "1.0"
    (note,) = found.notes
    assert f"tflite-runtime 2.0 {said}" in note
    assert "tflite-runtime 1.0 is used instead" in note
    transport.forget()
    assert provide(transport, board(), shop.wish()) == found
    assert len(transport.runs) == 1, "it is remembered, and nothing is sent again"


def test_runtime_that_is_pinned_and_crashes_is_an_error(transport: FakeBoard, shop: Shop) -> None:
    shop.sell(CRASHES, "2.0")
    shop.sell(WORKS, "1.0")
    for _ in range(2):
        with pytest.raises(DeviceError, match=r"2\.0 crashes with SIGILL on Cortex-A72") as caught:
            provide(transport, board(), shop.wish("tflite-runtime==2.0"))
        assert "tflite-runtime==1.0" in caught.value.hint


def test_what_works_is_found_behind_what_is_missing(transport: FakeBoard, shop: Shop) -> None:
    """A preferred runtime that failed in another way than by a crash is tried again each time."""
    shop.sell(NEEDS_GLIBC, "2.0")
    shop.sell(WORKS, "1.0")
    found = provide(transport, board(), shop.wish())
    (missing, there) = sorted(wheels.choose(board()), key=lambda c: c.release.version != "2.0")
    assert transport.installed() == [there.key] and missing.key not in transport.installed()
    said: list[Progress] = []
    assert provide(transport, board(), shop.wish(), said.append) == found
    assert {p.note for p in said if p.task == "push"} == {missing.wheels[0].name}


def test_crash_of_a_board_is_forgotten_on_another(
    transport: FakeBoard, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A card is put into a board with another CPU: what was found before says nothing there."""
    shop.sell(CRASHES)
    with pytest.raises(DeviceError):
        provide(transport, board(), shop.wish())
    (key,) = transport.installed()
    request = {"root": str(transport.packages), "keys": [key]}
    assert program.look(request)["found"][key]["trial"]["error"] == {
        "kind": "crash",
        "message": "SIGILL",
    }
    monkeypatch.setattr(program, "cpu", lambda: ["CPU part : 0xd0b"])
    assert program.look(request)["found"] == {}


@pytest.mark.parametrize(
    ("interpreter", "said", "hint"),
    [
        (NEEDS_LIBRARY, "needs libstdc++.so.6", "libstdc++6"),
        (NEEDS_GLIBC, "version `GLIBC_2.99' not found", "--runtime-version"),
        ("raise RuntimeError('one\\ntwo')", "does not work on the device: two", "--runtime"),
        ("import sys; sys.exit('no')", "does not work on the device: no", "--runtime-version"),
    ],
)
def test_runtime_that_fails_is_told_in_one_line_and_not_kept(
    transport: FakeBoard, shop: Shop, interpreter: str, said: str, hint: str
) -> None:
    shop.sell(interpreter)
    with pytest.raises(DeviceError) as caught:
        provide(transport, board(), shop.wish())
    assert said in caught.value.message and hint in caught.value.hint
    assert "\n" not in caught.value.message and len(caught.value.message) < 400
    assert transport.installed() == [] and transport.rests() == []


class OldDebian(FakeBoard):
    """A board whose distribution has an old numpy."""

    def run(self, argv: Sequence[str], **kwargs: Any) -> Completed:
        if "apt-get" not in argv:
            return super().run(argv, **kwargs)
        self.runs.append("apt-get")
        name = "python3-numpy_1%3a1.19.5-1_armhf.deb"
        line = f"'http://127.0.0.1:9/{name}' {name} 1 SHA256:{'0' * 64}\n"
        return Completed(0, line.encode(), "")


@pytest.mark.skipif(not Path(DEBIAN_PYTHON).exists(), reason=f"there is no {DEBIAN_PYTHON}")
def test_runtime_that_is_too_new_for_numpy_of_the_distribution_is_not_sent(shop: Shop) -> None:
    for version in ("3.0", "2.0"):
        shop.sell(WORKS, version, machine="armv7l", numpy_from="1.23.2")
    transport = OldDebian()
    try:
        old = board(path=DEBIAN_PYTHON, architecture="armv7l", packages={})
        with pytest.raises(
            DeviceError, match=r"with python3-numpy 1\.19\.5-1 of the device"
        ) as caught:
            provide(transport, old, shop.wish())
        assert "3.0 does not" in caught.value.message and "2.0 does not" in caught.value.message
        assert transport.runs == [DEBIAN_PYTHON, "apt-get"], "apt is asked once, nothing is sent"
    finally:
        transport.close()


def test_all_that_failed_are_named(transport: FakeBoard, shop: Shop) -> None:
    shop.sell(CRASHES, "2.0")
    shop.sell(NEEDS_GLIBC, "1.0")
    with pytest.raises(DeviceError, match=r"2\.0 crashes with SIGILL.*; tflite-runtime 1\.0 does"):
        provide(transport, board(), shop.wish())


def test_runtime_that_hangs_is_ended(
    transport: FakeBoard, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installer, "TRIAL_TIMEOUT_S", 1)
    shop.sell("import time\ntime.sleep(60)")
    with pytest.raises(DeviceError, match="it had not ended after 1 s"):
        provide(transport, board(), shop.wish())


class Liar(FakeBoard):
    """A board that answers as a test wants."""

    said = Completed(0, b"", "")

    def run(self, argv: Sequence[str], **rest: Any) -> Completed:
        done = super().run(argv, **rest)
        return self.said if argv[0] == sys.executable else done


ANSWERS = (
    *("[]", "3", "null", '"error"', "{}", "[" * 100_000, '{"error": []}', '{"error": "no"}'),
    *('{"error": {"kind": [], "message": "m"}}', '{"error": {"kind": "space", "message": 3}}'),
    *('{"found": []}', '{"found": {"KEY": 3}}', '{"runtime": 3, "version": "1"}'),
    '{"found": {"KEY": {"trial": {}, "python": ["python3"], "packages": []}}}',
    '{"found": {"KEY": {"trial": {"runtime": "", "version": ""}, "python": "p", "packages": []}}}',
    '{"found": {"KEY": {"trial": {"runtime": "", "version": ""}, "python": [], "packages": []}}}',
)


@pytest.mark.parametrize("said", ANSWERS, ids=lambda said: str(said)[:60])
def test_answers_that_are_none_are_told(shop: Shop, said: str) -> None:
    shop.sell(WORKS)
    (candidate,) = wheels.choose(board())
    liar = Liar()
    liar.said = Completed(0, said.replace("KEY", candidate.key).encode(), "")
    own = board(packages={"numpy": metadata.version("numpy"), "ai-edge-litert": ""})
    try:
        for wish in (shop.wish(), Wish("installed")):
            with pytest.raises(DeviceError, match="Python on the device failed with exit code 0"):
                provide(liar, own, wish)
    finally:
        liar.close()


def test_a_runtime_that_dies_of_a_signal_without_a_name_is_told() -> None:
    liar = Liar()
    liar.said = Completed(-45, b"", "")
    own = board(packages={"numpy": metadata.version("numpy"), "ai-edge-litert": ""})
    try:
        with pytest.raises(DeviceError, match="crashes with signal 45 on Cortex-A72"):
            provide(liar, own, Wish("installed"))
    finally:
        liar.close()


def test_python_that_is_broken_is_told(transport: FakeBoard, shop: Shop, tmp_path: Path) -> None:
    shop.sell(WORKS)
    broken = tmp_path / "python3"
    broken.write_text("#!/bin/sh\necho 'no module named encodings' >&2; exit 1\n")
    broken.chmod(0o755)
    with pytest.raises(DeviceError, match="exit code 1: no module named encodings"):
        provide(transport, board(path=str(broken)), shop.wish())


# What is damaged


def damage_same_size(place: Path) -> None:
    file = place / "wheels/tflite_runtime/interpreter.py"
    before = file.stat()
    file.write_bytes(file.read_bytes().replace(b"import", b"imp0rt"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def remove_file(place: Path) -> None:
    (place / "wheels/tflite_runtime/__init__.py").unlink()


def cut_state(place: Path) -> None:
    file = place / "installation.json"
    file.write_text(file.read_text()[:-20])


def change_state(place: Path) -> None:
    file = place / "installation.json"
    state = json.loads(file.read_text())
    state["trial"]["version"] = "3.0"
    file.write_text(json.dumps(state))


def remove_state(place: Path) -> None:
    (place / "installation.json").unlink()


@pytest.mark.parametrize(
    "damage", [damage_same_size, remove_file, cut_state, change_state, remove_state]
)
def test_damaged_installation_is_made_anew(transport: FakeBoard, shop: Shop, damage: Any) -> None:
    shop.sell(WORKS)
    found = provide(transport, board(), shop.wish())
    damage(Path(found.packages[0]).parent)
    transport.forget()
    assert provide(transport, board(), shop.wish()) == found
    assert len(transport.runs) > 1
    assert imported_from(found).startswith(found.packages[0])
    transport.forget()
    assert provide(transport, board(), shop.wish()) == found and len(transport.runs) == 1


# What is cut short


def waiting_interpreter(flag: Path) -> str:
    """Works once a file is there; before that it waits."""
    return f"import os, time\nwhile not os.path.exists({str(flag)!r}): time.sleep(0.02)\n{WORKS}"


def wait_for(condition: Any, timeout_s: float = 20) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


class Killed(FakeBoard):
    """A board whose installer is killed while it tries the runtime, as by a loss of power."""

    def run(self, argv: Sequence[str], **kwargs: Any) -> Completed:
        if '"install"' not in argv[-1]:
            return super().run(argv, **kwargs)
        child = subprocess.Popen(
            argv,
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        assert child.stdin
        child.stdin.write(kwargs["stdin"])
        child.stdin.close()
        wait_for(lambda: list(self.packages.glob(".part-*/wheels/tflite_runtime/interpreter.py")))
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        raise DeviceError("the connection dropped")


def test_killed_installer_leaves_nothing_that_is_trusted(shop: Shop, tmp_path: Path) -> None:
    shop.sell(waiting_interpreter(tmp_path / "go"))
    transport = Killed()
    try:
        with pytest.raises(DeviceError, match="dropped"):
            provide(transport, board(), shop.wish())
        assert transport.installed() == [] and len(transport.rests()) == 1
        (tmp_path / "go").touch()
        transport.__class__ = FakeBoard
        found = provide(transport, board(), shop.wish())
        assert imported_from(found).startswith(found.packages[0])
        assert transport.rests() == [] and len(transport.installed()) == 1
    finally:
        transport.close()


@pytest.mark.parametrize("back", [True, False])
def test_connection_cut_while_the_board_installs(
    account: Account, shop: Shop, tmp_path: Path, device_folder: str, back: bool
) -> None:
    """It goes on where the board comes back in time, else in the next session."""
    shop.sell(waiting_interpreter(tmp_path / "go"))
    packages = Path(device_folder) / "packages"
    unpacked = "*/wheels/tflite_runtime/interpreter.py"
    with FaultProxy(account.server.port) as proxy:
        account.know(proxy.port)
        patience = replace(QUICK, return_s=2)
        transport = account.connect(
            account.address(proxy.port), folder=device_folder, patience=patience
        )
        results: list[object] = []
        thread = threading.Thread(target=attempt, args=(transport, shop.wish(), results))
        thread.start()
        wait_for(lambda: list(packages.glob(unpacked)))
        proxy.refusing = not back
        proxy.drop(reset=True)
        if back:
            (tmp_path / "go").touch()
        thread.join(60)
    (result,) = results
    if not back:
        assert isinstance(result, DeviceError)
        assert all(p.name.startswith(".") for p in packages.iterdir())
        (tmp_path / "go").touch()
        attempt(account.connect(folder=device_folder), shop.wish(), results)
    found = results[-1]
    assert isinstance(found, Installation) and imported_from(found).startswith(found.packages[0])
    assert len([p for p in packages.iterdir() if not p.name.startswith(".lock")]) == 1


def attempt(transport: Transport, wish: Wish, results: list[object]) -> None:
    """Note what is provided, or why nothing is."""
    try:
        results.append(provide(transport, board(), wish))
    except DeviceError as error:
        results.append(error)


def test_archive_that_was_damaged_on_the_board_is_sent_again(
    transport: FakeBoard, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.sell(WORKS)
    real = installer.install

    def spoil(transport: Any, candidate: Any, archives: Any) -> Any:
        path = Path(transport.folder, archives[0]["path"])
        path.write_bytes(b"!" + path.read_bytes()[1:])
        return real(transport, candidate, archives)

    monkeypatch.setattr(installer, "install", spoil)
    with pytest.raises(DeviceError, match=r"cannot be installed in .*\.whl") as caught:
        provide(transport, board(), shop.wish())
    assert "try again" in caught.value.hint and transport.installed() == []
    monkeypatch.setattr(installer, "install", real)
    assert provide(transport, board(), shop.wish()).version == "1.0"


def test_room_is_looked_for_before_anything_is_unpacked(
    transport: FakeBoard, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.sell(WORKS, extra=30 << 20)
    request = {
        "archives": [{"path": str(next(shop.folder.iterdir()))}],
        "unused": [],
    }
    usage = program.shutil.disk_usage("/")
    monkeypatch.setattr(program.shutil, "disk_usage", lambda _: usage._replace(free=10 << 20))
    with pytest.raises(program.RefusedError, match="34 MiB are needed, 10 MiB are free"):
        program.check_space("/", request)


def test_folder_that_cannot_be_written_is_told(transport: FakeBoard, shop: Shop) -> None:
    shop.sell(WORKS)
    transport.packages.write_text("a file where the folder should be")
    with pytest.raises(DeviceError, match="cannot be installed in") as caught:
        provide(transport, board(), shop.wish())
    assert "devices.toml" in caught.value.hint
