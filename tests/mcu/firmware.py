"""Compiles C and C++ for a microcontroller and boots it on QEMU."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mcu.machines import Machine

HERE = Path(__file__).parent
GCC = "arm-none-eabi-gcc"
GXX = "arm-none-eabi-g++"
QEMU = "qemu-system-arm"
STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic")
C11 = ("-std=c11",)
CXX17 = ("-std=c++17", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics")
OPTIMIZED = ("-O2", "-ffunction-sections", "-fdata-sections")
COMPILE_S = 120


def missing_compiler() -> str:
    """Why nothing can be compiled here; empty where it can."""
    for program in (GCC, GXX):
        if not shutil.which(program):
            return f"{program} is not installed"
    for library, package in (("libc.a", "libnewlib"), ("libstdc++.a", "libstdc++")):
        found = run([GCC, f"-print-file-name={library}"], 10).stdout.strip()
        if not Path(found).is_file():
            return f"{package} for arm-none-eabi is not installed"
    return ""


def missing_emulator() -> str:
    """Why nothing can be booted here; empty where it can."""
    return missing_compiler() or ("" if shutil.which(QEMU) else f"{QEMU} is not installed")


def run(command: Sequence[str | Path], timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; it is killed after the time."""
    return subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
    )


@dataclass(frozen=True)
class Ran:
    """What a boot left.

    Attributes:
        code: what ``main`` returned; 99 after a fault.
        text: what the program printed.
        talk: what QEMU itself said.
    """

    code: int
    text: str
    talk: str


@dataclass(frozen=True)
class Board:
    """An emulated board.

    Attributes:
        machine: which one.
        folder: where what is compiled goes.
    """

    machine: Machine
    folder: Path

    def run(
        self,
        *sources: Path,
        include: Iterable[Path] = (),
        flags: Iterable[str] = (),
        timeout_s: float = 60,
    ) -> Ran:
        """Compile, link and boot C (C11) and C++ (C++17) sources."""
        return self.boot(self.build(*sources, include=include, flags=flags), timeout_s=timeout_s)

    def build(
        self, *sources: Path, include: Iterable[Path] = (), flags: Iterable[str] = ()
    ) -> Path:
        """The linked program; a warning is an error, which fails the test with its text."""
        words = [*flags, *(f"-I{folder}" for folder in (*include, HERE))]
        own = [HERE / "startup.c", HERE / "semihosting.c"]
        objects = [self.compile(source, words) for source in (*own, *sources)]
        program = self.folder / "firmware.elf"
        self._do([GXX, *self.machine.flags, *objects, "-o", program, *self._layout()])
        return program

    def compile(self, source: Path, flags: Iterable[str] = ()) -> Path:
        """The object file of one source, by its ending C11 or C++17."""
        is_c = source.suffix == ".c"
        made = self.folder / f"{source.name}.o"
        language = (GCC, *C11) if is_c else (GXX, *CXX17)
        words = (*self.machine.flags, *OPTIMIZED, *STRICT, *flags)
        self._do([*language, *words, "-c", source, "-o", made])
        return made

    def boot(self, program: Path, *, options: Sequence[str] = (), timeout_s: float = 60) -> Ran:
        """Run a linked program until it exits.

        Args:
            program: from `build`.
            options: further words for QEMU, such as ``-icount shift=6``.
            timeout_s: after which it is killed, with a TimeoutExpired.
        """
        channel = ["-chardev", "stdio,id=text", "-semihosting-config"]
        channel += ["enable=on,target=native,chardev=text"]
        quiet = ["-display", "none", "-monitor", "none", "-serial", "none", "-nodefaults"]
        command = [QEMU, "-M", self.machine.name, *quiet, *channel, *options, "-kernel", program]
        done = run(command, timeout_s)
        return Ran(done.returncode, done.stdout, done.stderr)

    def _layout(self) -> list[str]:
        machine = self.machine
        places = {
            "flash_origin": machine.flash,
            "flash_size": machine.flash_size,
            "ram_origin": machine.ram,
            "ram_size": machine.ram_size,
        }
        symbols = [f"-Wl,--defsym={name}={value:#x}" for name, value in places.items()]
        script = ["-T", str(HERE / "board.ld"), "-nostartfiles", "-Wl,--gc-sections"]
        return [*symbols, *script, "-Wl,--no-warn-rwx-segments"]

    @staticmethod
    def _do(command: Sequence[str | Path]) -> None:
        done = run(command, COMPILE_S)
        assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
