"""The microcontroller boards that QEMU emulates: flags of their cores, and where memory lies."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class Machine:
    """A board.

    Attributes:
        name: QEMU's word for it.
        flags: the compiler's words for its core.
        flash: the first address of the memory that holds code and constants.
        ram: the first address of the memory for data.
        flash_size: in bytes.
        ram_size: in bytes.
    """

    name: str
    flags: tuple[str, ...]
    flash: int = 0
    ram: int = 0x20000000
    flash_size: int = 4 * MIB
    ram_size: int = 4 * MIB


def core(name: str, fpu: str = "") -> tuple[str, ...]:
    """Flags of a Cortex-M, with the floating-point unit that it has."""
    floats = ("-mfloat-abi=hard", f"-mfpu={fpu}") if fpu else ("-mfloat-abi=soft",)
    return (f"-mcpu={name}", "-mthumb", *floats)


AN385 = Machine("mps2-an385", core("cortex-m3"))
AN386 = Machine("mps2-an386", core("cortex-m4", "fpv4-sp-d16"))
AN500 = Machine("mps2-an500", core("cortex-m7", "fpv5-d16"))
AN505 = Machine("mps2-an505", core("cortex-m33", "fpv5-sp-d16"), 0x10000000, 0x38000000)
AN547 = Machine("mps3-an547", core("cortex-m55", "auto"), flash_size=MIB // 2, ram_size=MIB // 2)

MACHINES = (AN385, AN386, AN500, AN505, AN547)
