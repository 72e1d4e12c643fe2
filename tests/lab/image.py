"""The board's disk and kernel, built once and kept in the cache folder."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import initrd, keys, packages, rootfs

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute()
"""Of the user who runs the tests: looked up before a test names another one."""
SOURCES = (
    *(HERE / f"{name}.py" for name in ("image", "initrd", "keys", "packages", "rootfs")),
    *(HERE / "guest").iterdir(),
)
DISK_SIZE = "2G"
HOST_KEYS = ("ed25519", "ecdsa")
STARTERS = {
    "qemu-system-aarch64": "qemu-system-arm",
    "qemu-img": "qemu-utils",
    "fdtput": "device-tree-compiler",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}
"""Programs that starting a board takes, and Debian's packages that have them."""
BUILDERS = {
    "mmdebstrap": "mmdebstrap",
    "dpkg-deb": "dpkg",
    "mke2fs": "e2fsprogs",
    "tar": "tar",
    "zstd": "zstd",
}
PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


@dataclass(frozen=True)
class Image:
    """What a board starts from."""

    folder: Path

    @property
    def disk(self) -> Path:
        """The raw ext4 disk, which no board writes to."""
        return self.folder / "disk.ext4"

    @property
    def kernel(self) -> Path:
        """The kernel."""
        return self.folder / "kernel"

    @property
    def initrd(self) -> Path:
        """The first files."""
        return self.folder / "initrd"

    @property
    def key(self) -> Path:
        """The private key that lets pi and root in."""
        return self.folder / "id_ed25519"

    @property
    def host_keys(self) -> list[Path]:
        """The board's own private keys."""
        return [self.folder / f"host_{kind}" for kind in HOST_KEYS]


def cache(arch: str) -> Path:
    """The folder of all that is kept for boards of an architecture."""
    return CACHE / "edgepack" / f"virtual-pi-{arch}"


def missing(arch: str) -> str:
    """Why no board of an architecture can be started here; empty where one can."""
    built = image_of(arch).folder.is_dir()
    needed = STARTERS if built else STARTERS | BUILDERS
    absent = {
        package for program, package in needed.items() if not shutil.which(program, path=PATH)
    }
    if absent:
        return f"the virtual Pi needs Debian's packages {', '.join(sorted(absent))}"
    if built:
        return ""
    if not KEYRING.is_file():
        return "building the virtual Pi needs Debian's package debian-archive-keyring"
    if os.geteuid() != 0:
        return "building the virtual Pi needs root; starting one that is built does not"
    return ""


def build(arch: str) -> Image:
    """The image of an architecture, built where its sources have changed since.

    Raises:
        RuntimeError: if something that it needs is missing or a tool fails.
    """
    image = image_of(arch)
    if image.folder.is_dir():
        return image
    if reason := missing(arch):
        raise RuntimeError(reason)
    with locked(cache(arch)) as folder, tempfile.TemporaryDirectory(dir=folder) as work:
        if not image.folder.is_dir():
            # mmdebstrap wants a folder that others may enter.
            Path(work).chmod(0o755)
            make(arch, Path(work)).rename(image.folder)
            for old in set(folder.glob("image-*")) - {image.folder}:
                shutil.rmtree(old)
    return image


def image_of(arch: str) -> Image:
    """Where the image that the sources describe lies, or will lie."""
    return Image(cache(arch) / f"image-{stamp(arch, *SOURCES)}")


def stamp(arch: str, *sources: Path) -> str:
    """A word for an architecture and the content of files."""
    digest = hashlib.sha256(arch.encode())
    for path in sorted(sources):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@contextmanager
def locked(folder: Path) -> Iterator[Path]:
    """A folder that one process at a time builds in."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def make(arch: str, work: Path) -> Path:
    """Make an image in a folder of its own; returns that folder."""
    root, made = work / "root", Image(work / "image")
    made.folder.mkdir()
    unpack(arch, root)
    say(f"{arch}: make the disk")
    keys.make_key(made.key)
    for kind, path in zip(HOST_KEYS, made.host_keys, strict=True):
        keys.make_key(path, kind)
    made.initrd.write_bytes(initrd.initrd(root, rootfs.GUEST / "initrd-init"))
    shutil.copyfile(next((root / "boot").glob("vmlinuz-*")), made.kernel)
    rootfs.finish(root, client_key=made.key, host_keys=made.host_keys)
    mke2fs = ["mke2fs", "-q", "-F", "-t", "ext4", "-J", "size=16", "-E", "root_owner=0:0"]
    run([*mke2fs, "-d", str(root), str(made.disk), DISK_SIZE])
    return made.folder


def unpack(arch: str, root: Path) -> None:
    """Fill a folder with the packages' files, which are kept packed for the next image."""
    packed = root.parent.parent / f"packages-{stamp(arch, HERE / 'packages.py')}.tar.zst"
    if not packed.is_file():
        say(f"{arch}: fetch and unpack Debian's packages")
        packages.fetch(arch, root)
        part = root.parent / packed.name
        run(["tar", "-C", str(root), "--numeric-owner", "-I", "zstd -1 -T0", "-cf", str(part), "."])
        for old in packed.parent.glob("packages-*"):
            old.unlink()
        part.rename(packed)
        return
    root.mkdir()
    run(["tar", "-C", str(root), "--numeric-owner", "-I", "zstd", "-xpf", str(packed)])


def run(command: list[str]) -> None:
    """Run a tool to its end.

    Raises:
        RuntimeError: if it fails, with what it said.
    """
    environment = {**os.environ, "PATH": PATH}
    done = subprocess.run(command, capture_output=True, timeout=600, env=environment)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.decode(errors='replace')[-2000:]}")


def say(words: str) -> None:
    """Tell the user what takes long."""
    print(f"[virtual Pi] {words}", file=sys.stderr, flush=True)  # noqa: T201
