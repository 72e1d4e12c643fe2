"""A virtual Raspberry Pi: started, reached over SSH, and disturbed."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from lab import keys, qemu
from lab.boards import MODELS
from lab.image import Image
from lab.ports import HOST, free_ports, wait_for_ssh

BOOT_S = 180.0
STOP_S = 20.0
THERMAL = "/sys/class/thermal/thermal_zone0/temp"
THROTTLED = "/run/lab/throttled"
POLICY = "/sys/devices/system/cpu/cpufreq/policy0"


class VirtualPi:
    """A board behind a port of 127.0.0.1, with the user `pi` (password `raspberry`).

    Attributes:
        folder: its own files: disk, console, process id, monitor.
        host, port, user: how to log in; `root` may log in by the same key.
        key: the private key.
        known_hosts: a file that names its host keys.
        console: what the board prints.
    """

    host, user, password = HOST, "pi", "raspberry"

    def __init__(self, image: Image, folder: Path, *, port: int = 0, board: str = "pi4") -> None:
        self.image, self.folder = image, folder
        self.port = port or free_ports(1)[0]
        self.model = MODELS[board]
        self.key = image.key
        self.known_hosts, self.console = folder / "known_hosts", folder / "console"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of its QEMU; 0 where it is off."""
        try:
            pid = int((self.folder / "pid").read_text())
            stat = Path(f"/proc/{pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return 0
        name, _, rest = stat.partition("(")[2].rpartition(")")
        ended = rest.split()[0] == "Z"
        return 0 if ended or not qemu.PROGRAM.startswith(name) else pid

    def start(self, *, fresh: bool = True, lasting: bool = False) -> float:
        """Power on and wait until SSH answers.

        Args:
            fresh: whether its disk is new; otherwise it is as it was at power-off.
            lasting: whether it stays on when this program ends.

        Returns:
            seconds until SSH answered.

        Raises:
            RuntimeError: if it does not come up, with the end of its console.
        """
        begin = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        if fresh or not self._disk.is_file():
            qemu.write_disk(self.image, self._disk)
        qemu.write_device_tree(self.model, self.folder / "dtb")
        self.known_hosts.write_text(
            keys.known_hosts(self.host, [self.port], self.image.host_keys), encoding="utf-8"
        )
        self._launch(lasting=lasting)
        if not wait_for_ssh(self.port, timeout_s=BOOT_S):
            self.stop()
            raise RuntimeError(f"the virtual Pi did not start:\n{self._last_words()}")
        return time.monotonic() - begin

    def stop(self) -> None:
        """Cut the power; what the board had not written to its disk yet is lost."""
        if not (pid := self.pid):
            return
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + STOP_S
        while self.pid and time.monotonic() < end:
            time.sleep(0.05)
        if self.pid:
            os.kill(pid, signal.SIGKILL)
        if self._process:
            self._process.wait(STOP_S)
        (self.folder / "pid").unlink()

    def monitor(self, execute: str, **arguments: object) -> object:
        """Carry out a command of QEMU's machine protocol."""
        return qemu.monitor(self.folder, execute, **arguments)

    def ssh(self, user: str = "pi") -> list[str]:
        """The start of a command line that runs something on the board."""
        return [
            *("ssh", "-F", "none", "-i", str(self.key), "-p", str(self.port)),
            *("-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=60"),
            *("-o", f"UserKnownHostsFile={self.known_hosts}", f"{user}@{self.host}"),
        ]

    def run(
        self, argv: Sequence[str], *, user: str = "pi", stdin: bytes = b"", timeout_s: float = 120.0
    ) -> str:
        """Run a program on the board and return what it printed.

        Raises:
            RuntimeError: if it fails.
        """
        # One login serves for a minute, for it takes the emulated board seconds.
        keep = ["-o", "ControlMaster=auto", "-o", "ControlPersist=60"]
        keep += ["-o", "ControlPath=login-%r"]
        program, *words = self.ssh(user)
        command = [program, *keep, *words, shlex.join(argv)]
        done = subprocess.run(
            command, input=stdin, capture_output=True, timeout=timeout_s, cwd=self.folder
        )
        if done.returncode:
            words = done.stderr.decode(errors="replace")
            raise RuntimeError(f"{argv[0]} on the board exited with {done.returncode}: {words}")
        return done.stdout.decode(errors="replace")

    def as_root(self, argv: Sequence[str], *, stdin: bytes = b"") -> str:
        """Run a program as root."""
        return self.run(argv, user="root", stdin=stdin)

    def write(self, path: str, text: str) -> None:
        """Write a file as root."""
        self.as_root(["tee", path], stdin=text.encode())

    def heat(self, celsius: float) -> None:
        """Set the temperature of the processor."""
        self.write(THERMAL, f"{round(celsius * 1000)}\n")

    def throttle(self, bits: int) -> None:
        """Set the bits of `vcgencmd get_throttled`."""
        self.write(THROTTLED, f"{bits}\n")

    def govern(self, governor: str) -> None:
        """Set the governor of the processor's clock."""
        self.write(f"{POLICY}/scaling_governor", f"{governor}\n")

    def clock(self, khz: int) -> None:
        """Set the frequency that the processor shows; it is no faster or slower for it."""
        self.write(f"{POLICY}/scaling_cur_freq", f"{khz}\n")

    @property
    def _disk(self) -> Path:
        return self.folder / "disk.qcow2"

    def _launch(self, *, lasting: bool) -> None:
        for name in ("console", "monitor"):
            (self.folder / name).unlink(missing_ok=True)
        command = qemu.command(self.model, self.image, self.folder, self.port)
        if not lasting and shutil.which("setpriv"):
            command = ["setpriv", "--pdeathsig", "TERM", *command]
        with (self.folder / "qemu.log").open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        (self.folder / "pid").write_text(str(self._process.pid))

    def _last_words(self) -> str:
        paths = (self.folder / "qemu.log", self.console)
        return "\n".join(p.read_text(errors="replace")[-2000:] for p in paths if p.is_file())
