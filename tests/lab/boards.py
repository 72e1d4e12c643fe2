"""The boards that the virtual Pi can be: processor, memory, pace, and the words they say."""

from __future__ import annotations

from dataclasses import dataclass

ARCHITECTURES = ("arm64", "armhf")
"""Of the programs on the board; the kernel is a 64-bit one under both."""


@dataclass(frozen=True)
class BoardModel:
    """A kind of board.

    Attributes:
        cpu: QEMU's word for the processor.
        memory_mib: of the board.
        shift: an instruction takes 2^shift ns of the board's time; None for the host's time.
        name: the model as the device tree has it.
        max_khz, min_khz: the clock, as cpufreq shows it.
    """

    cpu: str
    memory_mib: int
    shift: int | None
    name: str
    max_khz: int
    min_khz: int


PI3, PI4 = "Raspberry Pi 3 Model B Plus Rev 1.3", "Raspberry Pi 4 Model B Rev 1.4"
PI5 = "Raspberry Pi 5 Model B Rev 1.0"
MODELS = {
    "pi3": BoardModel("cortex-a53", 512, 4, PI3, 1_400_000, 600_000),
    "pi4": BoardModel("cortex-a72", 1024, 3, PI4, 1_500_000, 600_000),
    "pi5": BoardModel("cortex-a76", 1024, 2, PI5, 2_400_000, 1_500_000),
    "free": BoardModel("cortex-a72", 1024, None, PI4, 1_500_000, 600_000),
}
"""The paces are near that of the emulator, 100 to 350 million instructions in a second, so that a
second of the board is about one of the host. `free` runs as fast as the host can, on all its
cores, so its timings mean nothing."""
