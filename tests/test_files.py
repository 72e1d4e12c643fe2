"""Files of a device: by content, resumed, checked there, and nothing half that is trusted."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from lab.fault_proxy import FaultProxy
from ssh_client import QUICK, Account

from edgepack.boards import files
from edgepack.boards.files import BLOCK, discard, fetch, push
from edgepack.boards.traces import clean
from edgepack.device import local_device
from edgepack.errors import DeviceError, InputError
from edgepack.progress import Progress
from edgepack.transport import Completed, Transport, connect
from edgepack.transports.ssh import Ssh

SIZE = 3_000_001


@pytest.fixture(params=["local", "ssh"])
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    """This machine, and a device behind an SSH server; both have an empty folder."""
    if request.param == "local":
        made = connect(local_device())
    else:
        folder: str = request.getfixturevalue("device_folder")
        made = request.getfixturevalue("account").connect(folder=folder)
    yield made
    made.close()


@pytest.fixture
def local() -> Iterator[Transport]:
    made = connect(local_device())
    yield made
    made.close()


@pytest.fixture
def proxy(account: Account) -> Iterator[FaultProxy]:
    with FaultProxy(account.server.port) as running:
        account.know(running.port)
        yield running


@pytest.fixture
def ssh(account: Account, proxy: FaultProxy, device_folder: str) -> Ssh:
    """A device behind a fault proxy."""
    return account.connect(account.address(proxy.port), folder=device_folder)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file whose name is hard on shells."""
    path = tmp_path / "-a model's $name.tflite"
    path.write_bytes(os.urandom(SIZE))
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def part_of(transport: Transport, file: Path) -> Path:
    return Path(transport.folder, "files", f"{sha256(file)}.part")


def leave_part(transport: Transport, file: Path, content: bytes) -> None:
    """What an earlier transfer left."""
    part = part_of(transport, file)
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(content)


def left(transport: Transport) -> list[str]:
    """Every file in edgepack's folder."""
    return sorted(path.name for path in Path(transport.folder).rglob("*") if path.is_file())


# What arrives


def test_a_file_arrives_by_its_content(transport: Transport, file: Path) -> None:
    remote = push(transport, file)
    assert remote == f"{transport.folder}/files/{sha256(file)}/{file.name}"
    assert Path(remote).read_bytes() == file.read_bytes()
    assert left(transport) == [file.name]


def test_an_empty_file_arrives(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert Path(push(transport, tmp_path / "empty")).read_bytes() == b""


def test_what_is_there_is_not_sent_again(ssh: Ssh, proxy: FaultProxy, file: Path) -> None:
    remote = push(ssh, file)
    assert proxy.sent > SIZE
    proxy.reset_counts()
    assert push(ssh, file) == remote
    assert proxy.sent < 10_000


def test_what_was_replaced_on_the_device_is_sent_again(transport: Transport, file: Path) -> None:
    remote = Path(push(transport, file))
    times = remote.stat().st_mtime
    remote.write_bytes(file.read_bytes()[:-1] + b"x")
    os.utime(remote, (times, times))
    assert Path(push(transport, file)) == remote
    assert remote.read_bytes() == file.read_bytes()


def test_progress_is_told_in_bytes(transport: Transport, file: Path) -> None:
    told: list[Progress] = []
    push(transport, file, told.append)
    assert [p.done for p in told] == sorted({p.done for p in told})
    assert (told[-1].done, told[-1].total, told[-1].note) == (SIZE, SIZE, file.name)


def test_a_missing_file_is_told(local: Transport, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing-here cannot be read"):
        push(local, tmp_path / "nothing-here")


def test_a_file_that_goes_meanwhile_is_told(local: Transport, file: Path) -> None:
    looked = files.look

    def look(*words: Any) -> files.Found:
        file.unlink()
        return looked(*words)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(InputError, match="cannot be read"):
        patch.setattr(files, "look", look)
        push(local, file)


# What is left of an earlier transfer


def cut_at_half(proxy: FaultProxy, part: Path, *, for_good: bool) -> Callable[[Progress], None]:
    """A report that cuts the link once, when half of a file lies on the device."""
    cut: list[int] = []

    def report(progress: Progress) -> None:
        if progress.done > SIZE * 0.7 and not cut:
            while not part.exists() or part.stat().st_size < SIZE // 2:
                time.sleep(0.01)
            proxy.refusing = for_good
            cut.append(proxy.drop(reset=True))

    return report


def test_a_broken_transfer_goes_on_in_the_same_push(
    ssh: Ssh, proxy: FaultProxy, file: Path
) -> None:
    report = cut_at_half(proxy, part_of(ssh, file), for_good=False)
    assert Path(push(ssh, file, report)).read_bytes() == file.read_bytes()
    assert proxy.connections == 2 and SIZE < proxy.sent < SIZE * 1.6
    assert left(ssh) == [file.name]


def test_a_later_push_goes_on_where_an_earlier_one_broke_off(
    account: Account, proxy: FaultProxy, file: Path, device_folder: str
) -> None:
    address, hasty = account.address(proxy.port), replace(QUICK, return_s=0.5)
    ssh = account.connect(address, folder=device_folder, patience=hasty)
    part = part_of(ssh, file)
    with pytest.raises(DeviceError, match="ended the connection"):
        push(ssh, file, cut_at_half(proxy, part, for_good=True))
    assert left(ssh) == [part.name]
    assert file.read_bytes().startswith(part.read_bytes())
    there = part.stat().st_size
    proxy.refusing = False
    proxy.reset_counts()
    later = account.connect(address, folder=device_folder)
    assert Path(push(later, file)).read_bytes() == file.read_bytes()
    assert there >= SIZE // 2 and proxy.sent < SIZE - there + BLOCK + 20_000
    assert left(ssh) == [file.name]


def test_a_transfer_whose_session_is_killed_goes_on(account: Account, file: Path) -> None:
    ssh = account.connect(folder=str(account.home / "device"))

    def kill_at_half(progress: Progress) -> None:
        if progress.done > SIZE // 2 and not killed:
            killed.append(account.server.kill_sessions())

    killed: list[int] = []
    assert Path(push(ssh, file, kill_at_half)).read_bytes() == file.read_bytes()
    assert killed[0] >= 1


@pytest.mark.parametrize("blocks", [0, 1, 7])
def test_only_the_rest_is_sent(transport: Transport, file: Path, blocks: int) -> None:
    leave_part(transport, file, file.read_bytes()[: blocks * BLOCK + 5])
    told: list[Progress] = []
    assert Path(push(transport, file, told.append)).read_bytes() == file.read_bytes()
    assert told[0].done == blocks * BLOCK


@pytest.mark.parametrize("size", [BLOCK, SIZE - 1, SIZE, SIZE + 1, SIZE + BLOCK])
def test_a_part_that_is_wrong_is_thrown_away(transport: Transport, file: Path, size: int) -> None:
    leave_part(transport, file, os.urandom(size))
    assert Path(push(transport, file)).read_bytes() == file.read_bytes()
    assert left(transport) == [file.name]


def test_a_file_that_changes_meanwhile_does_not_arrive(local: Transport, file: Path) -> None:
    def change(progress: Progress) -> None:
        file.write_bytes(os.urandom(SIZE))

    with pytest.raises(DeviceError, match="does not arrive as it is here"):
        push(local, file, change)
    assert left(local) == []


def test_two_pushes_of_a_file_at_once_do_no_harm(account: Account, file: Path) -> None:
    folder = str(account.home / "device")
    pushed: list[str] = []
    transports = [account.connect(folder=folder) for _ in range(3)]
    threads = [
        threading.Thread(target=lambda t=t: pushed.append(push(t, file))) for t in transports
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(pushed) == 3 and len(set(pushed)) == 1
    assert Path(pushed[0]).read_bytes() == file.read_bytes()
    assert left(transports[0]) == [file.name]


# No room, no permission


@pytest.fixture
def small_disk(local: Transport) -> Iterator[Path]:
    """A disk of 4 MiB in the place of edgepack's folder."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", local.folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk here")
    yield Path(local.folder)
    subprocess.run(["umount", "-l", local.folder], check=True)


def test_free_space_is_checked_first(local: Transport, small_disk: Path, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(bytes(5_000_000))
    told: list[Progress] = []
    with pytest.raises(DeviceError, match=r"big needs 5\.0 MB .*, but only 4\.2 MB are") as caught:
        push(local, big, told.append)
    assert told == [] and "--clean" in caught.value.hint and left(local) == []


def test_a_disk_that_fills_up_is_told_and_left_clean(
    local: Transport, small_disk: Path, file: Path
) -> None:
    filler = small_disk / "filler"

    def fill(progress: Progress) -> None:
        if not filler.exists():
            filler.write_bytes(bytes(2_500_000))

    with pytest.raises(DeviceError, match="No space left on device") as caught:
        push(local, file, fill)
    assert "make room" in caught.value.hint and left(local) == ["filler"]
    filler.unlink()
    assert Path(push(local, file)).read_bytes() == file.read_bytes()


def test_a_part_counts_as_room_that_is_taken(
    local: Transport, small_disk: Path, file: Path
) -> None:
    leave_part(local, file, file.read_bytes()[: 40 * BLOCK])
    assert Path(push(local, file)).read_bytes() == file.read_bytes()


def test_a_disk_that_cannot_be_written_is_told(
    local: Transport, small_disk: Path, file: Path
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(DeviceError, match="Read-only file system") as caught:
        push(local, file)
    assert "devices.toml" in caught.value.hint


@dataclass
class Wrapped:
    """A transport whose programs are started by another program."""

    inner: Transport
    words: tuple[str, ...]
    folder: str
    python: str = ""

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        stdin: bytes | Iterable[bytes] = b"",
        repeatable: bool = False,
    ) -> Completed:
        return self.inner.run([*self.words, *argv], timeout_s=timeout_s, stdin=stdin)

    def close(self) -> None:
        self.inner.close()


def test_a_missing_permission_is_told(local: Transport, file: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    transport = Wrapped(local, nobody if os.geteuid() == 0 else (), f"{closed}/edgepack")
    with pytest.raises(DeviceError, match="Permission denied") as caught:
        push(transport, file)
    assert "folder = ..." in caught.value.hint and list(closed.iterdir()) == []


@pytest.mark.skipif(not shutil.which("busybox"), reason="busybox is not installed")
def test_busybox_is_enough(local: Transport, file: Path, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "dd", "sha256sum", "wc", "df", "mkdir", "mv", "rm", "cat", "rmdir"):
        (programs / name).symlink_to(str(shutil.which("busybox")))
    transport = Wrapped(local, ("env", f"PATH={programs}"), local.folder)
    leave_part(transport, file, file.read_bytes()[: 3 * BLOCK])
    remote = push(transport, file)
    assert push(transport, file) == remote
    fetch(transport, remote, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == file.read_bytes()
    discard(transport, remote)
    clean(transport)
    assert not Path(local.folder).exists()


def test_a_device_without_the_programs_is_told(
    local: Transport, file: Path, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("sh", "mkdir", "env"):
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    transport = Wrapped(local, ("env", f"PATH={tmp_path / 'bin'}"), local.folder)
    with pytest.raises(DeviceError, match="not found") as caught:
        push(transport, file)
    assert "coreutils" in caught.value.hint


# Back, and away


def test_a_file_comes_back_whole(transport: Transport, file: Path, tmp_path: Path) -> None:
    (tmp_path / "back").write_bytes(b"old")
    fetch(transport, push(transport, file), tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == file.read_bytes()
    assert list(tmp_path.glob("*.part")) == []


def test_what_does_not_come_back_leaves_the_old_file(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "back").write_bytes(b"old")
    with pytest.raises(DeviceError, match="No such file"):
        fetch(transport, f"{transport.folder}/missing", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"old"
    with pytest.raises(InputError, match="cannot be written"):
        fetch(transport, "/etc/passwd", tmp_path / "no-folder" / "back")


def test_what_is_discarded_is_gone(transport: Transport, file: Path) -> None:
    remote = push(transport, file)
    discard(transport, remote)
    discard(transport, remote)
    assert not Path(remote).parent.exists() and Path(transport.folder, "files").is_dir()


def test_cleaning_removes_the_folder_and_nothing_else(
    transport: Transport, file: Path, tmp_path: Path
) -> None:
    push(transport, file)
    beside = Path(transport.folder).with_name("beside")
    beside.write_text("mine")
    clean(transport)
    clean(transport)
    assert not Path(transport.folder).exists() and beside.read_text() == "mine"
    beside.unlink()


def test_cleaning_leaves_what_edgepack_did_not_make(
    transport: Transport, file: Path, tmp_path: Path
) -> None:
    """The folder may have been there before, with files, and names as edgepack's own."""
    push(transport, file)
    folder, other = Path(transport.folder), tmp_path / "other"
    other.mkdir()
    (other / "precious").write_text("mine")
    mine = ["thesis.txt", "lock", "files/readme", "files/" + "A" * 64, "outputs-of-mine.npz"]
    for name in mine:
        (folder / name).write_text("mine")
    (folder / ("outputs-" + "0" * 16 + ".npz")).write_bytes(b"edgepack's")
    (folder / "files" / ("0" * 64)).symlink_to(other)
    (folder / "packages").symlink_to(other)
    (other / ("numpy-1.0-" + "0" * 16)).mkdir()
    stays = clean(transport)
    assert {Path(path).name for path in stays} == {
        *("thesis.txt", "lock", "files", "outputs-of-mine.npz", "packages")
    }
    assert all((folder / name).read_text() == "mine" for name in mine)
    assert sorted(p.name for p in other.iterdir()) == ["numpy-1.0-" + "0" * 16, "precious"]
    left_files = sorted(p.name for p in (folder / "files").iterdir())
    assert left_files == ["0" * 64, "A" * 64, "readme"]
    assert not (folder / ("outputs-" + "0" * 16 + ".npz")).exists()


def test_cleaning_leaves_a_link_and_the_folder_that_it_means(
    account: Account, tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    (account.server.home / ".linked").symlink_to(tmp_path / "disk")
    ssh = account.connect(folder=".linked")
    push(ssh, account.ssh / "id_ed25519.pub")
    assert list((tmp_path / "disk").iterdir()) != []
    (tmp_path / "disk" / "mine").write_text("mine")
    assert clean(ssh) == (".linked/mine", ".linked")
    assert [p.name for p in (tmp_path / "disk").iterdir()] == ["mine"]
    (account.server.home / ".linked").unlink()


def test_a_folder_that_holds_the_home_folder_is_never_removed(account: Account) -> None:
    (account.server.home / "mine").write_text("mine")
    for folder in (str(account.server.home), str(account.server.home.parent), "link", "/", ""):
        link = account.server.home / "link"
        link.unlink(missing_ok=True)
        link.symlink_to(account.server.home)
        with pytest.raises((DeviceError, InputError), match=r"refused|cannot be edgepack's"):
            clean(account.connect(folder=folder))
        assert (account.server.home / "mine").read_text() == "mine"
        link.unlink()
    (account.server.home / "mine").unlink()


def test_few_round_trips(local: Transport, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts: list[str] = []
    run_script = files.run_script

    def counted(transport: Transport, script: str, *rest: object, **more: object) -> Completed:
        scripts.append(script)
        return run_script(transport, script, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(files, "run_script", counted)
    push(local, file)
    push(local, file)
    assert scripts == [files.LOOK, files.TAKE, files.LOOK]
