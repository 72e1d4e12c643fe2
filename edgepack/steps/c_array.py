"""Write a .tflite as a constant array in C, which lies in flash and compiles fast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from edgepack.errors import InputError, RecipeError
from edgepack.step import Given, Step, setting


@dataclass(frozen=True)
class CArray(Step):
    """The model's bytes as NAME.h and NAME.c or NAME.cc, aligned to 16, for C11 and C++17."""

    takes: ClassVar[frozenset[str]] = frozenset({"tflite", "ethosu"})
    gives: ClassVar[str] = "c"
    lossless: ClassVar[bool] = True

    name: str = setting("", "name of the files and of the array; empty: the model's")
    language: str = setting("c", "ending of the source; c is C++, too", choices=("c", "c++"))
    section: str = setting("", "section of the object file, such as .rodata.model")
    progmem: bool = setting(False, "put it into PROGMEM where there is such, as on AVR")

    def needs(self) -> frozenset[str]:
        """The model's name, where there is no other."""
        return frozenset() if self.name else frozenset({"name"})

    def check(self) -> None:
        """Refuse words that C cannot take."""
        from edgepack.micro.c_array import Layout

        try:
            Layout(**self._words("model")).check()
        except InputError as error:
            raise RecipeError(f"c_array: {error.message}", error.hint) from error

    def apply(self, model: Any, given: Given) -> Mapping[str, bytes]:
        """The header and the source by file name."""
        from edgepack.micro.c_array import array_files
        from edgepack.micro.c_names import c_name

        return array_files(model, **self._words(c_name(given.name)))

    def _words(self, name: str) -> dict[str, Any]:
        return {**asdict(self), "name": self.name or name}
