"""The board's files as Debian's packages hold them: downloaded and unpacked, none is run."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

SUITE = "bookworm"
KERNEL_ARCH = "arm64"
KERNEL = ("linux-image-cloud-arm64:arm64", "busybox-static:arm64")
"""What starts the board; it does not count as installed on it."""
STARTERS = ("linux-image-", "busybox-static_")
WORDS = """
    base-files base-passwd bash dash coreutils libc-bin grep sed mawk findutils diffutils tar gzip
    util-linux mount login passwd hostname debianutils ncurses-base procps iproute2 netbase tzdata
    openssh-server openssh-sftp-server openssh-client apt dpkg debian-archive-keyring
    python3 libstdc++6
"""
SUPERFLUOUS = ("usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale")
INSTALLABLE = (*WORDS.split(), "python3-numpy", "python3-pip", "python3-venv", "libgomp1")
"""What the board's package lists are kept for."""
TRIES = 3
TIMEOUT_S = 900


def fetch(arch: str, root: Path) -> None:
    """Fill a folder with the files of a board of one architecture, its kernel included.

    Raises:
        RuntimeError: if the packages cannot be had, with the last words of the tool.
    """
    for left in reversed(range(TRIES)):
        done = subprocess.run(command(arch, root), capture_output=True, timeout=TIMEOUT_S)
        if done.returncode == 0:
            break
        if not left:
            words = done.stderr.decode(errors="replace")[-2000:]
            raise RuntimeError(f"mmdebstrap failed {TRIES} times:\n{words}")
        # A mirror is inconsistent for some seconds while it is brought up to date.
        shutil.rmtree(root, ignore_errors=True)
        time.sleep(5)
    register(root)
    prune(arch, root)


def command(arch: str, root: Path) -> list[str]:
    """The call of mmdebstrap that unpacks and keeps packages and package lists."""
    return [
        *("mmdebstrap", "--mode=root", "--variant=extract", "--format=directory"),
        f"--architectures={','.join(dict.fromkeys((arch, KERNEL_ARCH)))}",
        *("--skip=check/qemu", "--skip=cleanup/apt"),
        f"--include={','.join((*WORDS.split(), *KERNEL))}",
        # One archive is enough, and the others are out of step with their lists now and then.
        f"--setup-hook=sed -i '/{SUITE}-/d' \"$1/etc/apt/sources.list\"",
        *("--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", SUITE, str(root)),
    ]


def register(root: Path) -> None:
    """Tell dpkg and apt of the board that the packages are installed, and drop their files."""
    archives = root / "var/cache/apt/archives"
    with (root / "var/lib/dpkg/status").open("a", encoding="utf-8") as status:
        for path in sorted(archives.glob("*.deb")):
            if not path.name.startswith(STARTERS):
                status.write(installed(path))
            path.unlink()
    # The kernel's architecture is none that the board takes packages of.
    (root / "var/lib/dpkg/arch").unlink(missing_ok=True)


def installed(package: Path) -> str:
    """The entry of a package file in dpkg's list of what is installed."""
    show = ["dpkg-deb", "-f", str(package)]
    done = subprocess.run(show, capture_output=True, check=True, timeout=60)
    name, _, rest = done.stdout.decode().partition("\n")
    return f"{name}\nStatus: install ok installed\n{rest.rstrip()}\n\n"


def prune(arch: str, root: Path) -> None:
    """Remove documentation, and of the package lists what the board will not ask for."""
    for folder in SUPERFLUOUS:
        shutil.rmtree(root / folder, ignore_errors=True)
    for path in (root / "var/lib/apt/lists").glob("*_binary-*_Packages"):
        if f"_binary-{arch}_" not in path.name:
            path.unlink()
            continue
        entries = path.read_text(encoding="utf-8").strip().split("\n\n")
        path.write_text("\n\n".join(closure(entries, INSTALLABLE)) + "\n\n", encoding="utf-8")


def closure(entries: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """The entries of a package list that some packages need, theirs included.

    Reading all of Debian's list takes apt half a minute on an emulated board.
    """
    by_name = {field(entry, "Package"): entry for entry in entries}
    providers: dict[str, list[str]] = {}
    for name, entry in by_name.items():
        for provided in names(field(entry, "Provides")):
            providers.setdefault(provided, []).append(name)
    found: dict[str, str] = {}
    open_names = list(wanted)
    while open_names:
        name = open_names.pop()
        if name not in by_name:
            open_names += [p for p in providers.get(name, ()) if p not in found]
        elif name not in found:
            entry = found[name] = by_name[name]
            open_names += names(field(entry, "Depends") + "," + field(entry, "Pre-Depends"))
    return list(found.values())


def field(entry: str, name: str) -> str:
    """A field of a package list's entry; empty where it has none."""
    match = re.search(rf"^{name}: (.*)$", entry, re.MULTILINE)
    return match[1] if match else ""


def names(relation: str) -> list[str]:
    """The packages that a dependency names, alternatives included."""
    return re.findall(r"(?:^|[,|])\s*([a-z0-9][a-z0-9+.-]*)", relation)
