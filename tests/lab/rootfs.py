"""What makes a board of unpacked packages: users, keys, and the guest's own programs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

GUEST = Path(__file__).with_name("guest")
PI = 1000
RASPBERRY = (
    "$6$edgepack$3Jxz6ZqZ/kJLY0k1sGiB9wr4.K4WQjybTW3nn1qUyAcLPlAuOOMi17Z2v"
    "G.Q.Dzci3NYhk10vg/cJbc11kX8z/"
)
"""The password `raspberry` of the user `pi`, as `openssl passwd -6 -salt edgepack` writes it."""
LINKS = {"usr/bin/awk": "mawk", "usr/bin/which": "which.debianutils"}


def finish(root: Path, *, client_key: Path, host_keys: Iterable[Path]) -> None:
    """Turn unpacked packages into a board that `client_key` opens for pi and root."""
    add_users(root)
    for home, owner in (("root", 0), ("home/pi", PI)):
        shutil.copytree(root / "etc/skel", root / home, dirs_exist_ok=True)
        authorize(root / home, owner, client_key)
    for key in host_keys:
        name = f"ssh_host_{key.name.rpartition('_')[2]}_key"
        install(key, root / "etc/ssh" / name, 0o600)
        install(key.with_name(key.name + ".pub"), root / "etc/ssh" / f"{name}.pub", 0o644)
    install(GUEST / "sshd_config", root / "etc/ssh/sshd_config", 0o644)
    install(GUEST / "lab-init", root / "usr/sbin/lab-init", 0o755)
    install(GUEST / "vcgencmd", root / "usr/bin/vcgencmd", 0o755)
    for link, target in LINKS.items():
        (root / link).symlink_to(target)
    (root / "etc/hostname").write_text("raspberrypi\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost raspberrypi\n")
    (root / "srv/small").mkdir(parents=True)
    compile_python(root)
    for folder in ("boot", "usr/lib/modules"):
        shutil.rmtree(root / folder)
    (root / "boot").mkdir()


def add_users(root: Path) -> None:
    """The accounts that a Raspberry Pi has: root without a password, and pi."""
    masters, etc = root / "usr/share/base-passwd", root / "etc"
    users = (masters / "passwd.master").read_text()
    users += "_apt:x:42:65534::/nonexistent:/usr/sbin/nologin\n"
    users += "sshd:x:104:65534::/run/sshd:/usr/sbin/nologin\n"
    users += f"pi:x:{PI}:{PI}:,,,:/home/pi:/bin/bash\n"
    groups = (masters / "group.master").read_text().replace("video:*:44:", "video:*:44:pi")
    (etc / "passwd").write_text(users)
    (etc / "group").write_text(f"{groups}pi:x:{PI}:\n")
    passwords = {"root": "*", "sshd": "!", "pi": RASPBERRY}
    lines = [f"{user}:{password}:19000:0:99999:7:::\n" for user, password in passwords.items()]
    (etc / "shadow").write_text("".join(lines))
    (etc / "shadow").chmod(0o640)


def authorize(home: Path, owner: int, key: Path) -> None:
    """Let a key into a user's home, and give the user what lies in it."""
    (home / ".ssh").mkdir()
    shutil.copyfile(key.with_name(key.name + ".pub"), home / ".ssh/authorized_keys")
    (home / ".ssh").chmod(0o700)
    for path in (home, *home.rglob("*")):
        os.chown(path, owner, owner)


def install(source: Path, target: Path, mode: int) -> None:
    """Copy a file and set its mode."""
    shutil.copyfile(source, target)
    target.chmod(mode)


def compile_python(root: Path) -> None:
    """Leave bytecode beside the board's Python, where this machine has the same version.

    Raises nothing where it has not: the board is then slower to start programs.
    """
    library = next((root / "usr/lib").glob("python3.*"))
    if python := shutil.which(library.name):
        command = [python, "-m", "compileall", "-q", "-j2", "-s", str(root), "-p", "/"]
        # A few test files of the library are no valid Python on purpose.
        subprocess.run([*command, str(library)], capture_output=True, timeout=300)
