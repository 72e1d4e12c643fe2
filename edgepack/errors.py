"""The exceptions of edgepack: each says what is wrong, and its hint what to type next.

EdgepackError              1
├── GateError              1   a gate, a verification or a validity check was not met
├── InputError             2   an option or a file that the user gave
│   ├── ModelError             a model file
│   ├── DataError              a data set
│   ├── RecipeError            a recipe or one of its settings
│   ├── TargetError            a target
│   └── MissingExtraError      a package that an extra would install
├── StepError              3   a step, or the conversion of a model, failed
└── DeviceError            4   a device could not be reached or did not do its part
    └── ConnectionLostError    the connection dropped: what ran there may have done its part
"""

from __future__ import annotations

from typing import ClassVar


class EdgepackError(Exception):
    """What the command line prints as ``error: message`` and ``hint: ...`` before it exits.

    Args:
        message: what is wrong, with which thing, and its value.
        hint: what to type or to change next; empty where nothing can be done.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class GateError(EdgepackError):
    """A gate, a verification or a validity check was not met."""


class InputError(EdgepackError):
    """An option or a file that the user gave cannot be used."""

    exit_code: ClassVar[int] = 2


class ModelError(InputError):
    """A model file cannot be used."""


class DataError(InputError):
    """A data set cannot be used."""


class RecipeError(InputError):
    """A recipe or one of its settings is wrong."""


class TargetError(InputError):
    """A target is unknown or its description is wrong."""


class MissingExtraError(InputError):
    """A package is missing that one of the extras installs.

    Args:
        package: the import name that is missing.
        extra: the extra that installs it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"the package {package} is not installed",
            f"type: pip install 'edgepack[{extra}]'",
        )


class StepError(EdgepackError):
    """A step, or the conversion of a model, failed."""

    exit_code: ClassVar[int] = 3


class DeviceError(EdgepackError):
    """A device could not be reached or did not do its part."""

    exit_code: ClassVar[int] = 4


class ConnectionLostError(DeviceError):
    """The connection to a device dropped while a program ran there, which may have ended or not."""
