"""LiteRT's own profiler, by the C interface of the library that its Python package carries.

Python is not offered the profiler otherwise. The interface changes from version to version, so it
is only used with versions that it was tried with: 2.1.0, 2.1.2 and 2.3.0, on 64-bit machines.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any, List, Sequence, Tuple

LIBRARY = "libLiteRt.so"
CPU = 1
ONLY_REGISTER, INTEGER = 24, 2
WRITE = 1
WHOLE_KIND, WHOLE = 1, b"Invoke"
OPERATOR_KINDS = (2, 4, 8)
"""Of the runtime's operators, and of those inside a delegate."""

Run = Tuple[int, List[Tuple[str, int]]]
"""The time of a whole inference in us, and names and times in us of its operators."""


class UnofferedError(Exception):
    """Why the times of operators cannot be had."""


class EnvironmentOption(ctypes.Structure):
    """One option of an environment."""

    _fields_ = [("tag", ctypes.c_int), ("type", ctypes.c_int64), ("value", ctypes.c_int64)]


class ProfiledEvent(ctypes.Structure):
    """One event, as the library lays it out."""

    _fields_ = [
        ("tag", ctypes.c_char_p),
        ("kind", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_uint64 * 6),
        ("metadata", ctypes.c_uint64 * 2),
        ("source", ctypes.c_int),
    ]


class Library:
    """The library of ai-edge-litert 2.3.

    Args:
        folder: of the Python package.
    """

    def __init__(self, folder: str) -> None:
        self.functions = ctypes.CDLL(os.path.join(folder, LIBRARY))
        self.payloads = []  # type: List[Any]
        self.free = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function that answers with a status."""
        status = getattr(self.functions, name)(*arguments)
        if status:
            raise UnofferedError("%s answers with status %d" % (name, status))

    def get(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """What a function leaves behind its last argument."""
        found = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(found))
        return found

    def environment(self) -> ctypes.c_void_p:
        """An environment that looks for no accelerator but the CPU."""
        option = EnvironmentOption(ONLY_REGISTER, INTEGER, CPU)
        return self.get("LiteRtCreateEnvironment", 1, ctypes.byref(option))

    def model(self, environment: ctypes.c_void_p, path: str) -> ctypes.c_void_p:
        """The model of a file."""
        return self.get("LiteRtCreateModelFromFile", environment, os.fsencode(path))

    def settings(self, threads: int, xnnpack: bool) -> List[ctypes.c_void_p]:
        """Options that switch the profiler on, and choose threads and kernels."""
        kernels = "" if xnnpack else 'kernel_mode = "builtin"\n'
        return [
            self.toml(b"runtime_options_string", "enable_profiling = true\n"),
            self.toml(b"xnnpack", "num_threads = %d\n%s" % (threads, kernels)),
        ]

    def toml(self, name: bytes, text: str) -> ctypes.c_void_p:
        """Options of one subject, as the text that the library reads; it lives on with this."""
        self.payloads.append(ctypes.create_string_buffer(text.encode("ascii")))
        return self.get("LiteRtCreateOpaqueOptions", name, self.payloads[-1], self.free)

    def compile(
        self, environment: ctypes.c_void_p, model: ctypes.c_void_p, threads: int, xnnpack: bool
    ) -> ctypes.c_void_p:
        """The model made ready to run."""
        options = self.get("LiteRtCreateOptions")
        self.call("LiteRtSetOptionsHardwareAccelerators", options, CPU)
        for setting in self.settings(threads, xnnpack):
            self.call("LiteRtAddOpaqueOptions", options, setting)
        return self.get("LiteRtCreateCompiledModel", environment, model, options)


class Library21(Library):
    """The library of ai-edge-litert 2.1."""

    def environment(self) -> ctypes.c_void_p:
        """An environment without options."""
        return self.get("LiteRtCreateEnvironment", 0, None)

    def model(self, _: ctypes.c_void_p, path: str) -> ctypes.c_void_p:
        """The model of a file, which needs no environment."""
        return self.get("LiteRtCreateModelFromFile", os.fsencode(path))

    def settings(self, threads: int, xnnpack: bool) -> List[ctypes.c_void_p]:
        """Options by functions of their own."""
        if not xnnpack:
            raise UnofferedError("ai-edge-litert 2.1 tells them with XNNPACK only")
        runtime, cpu = self.get("LiteRtCreateRuntimeOptions"), self.get("LiteRtCreateCpuOptions")
        inner = self.get("LiteRtFindRuntimeOptions", runtime)
        self.call("LiteRtSetRuntimeOptionsEnableProfiling", inner, ctypes.c_bool(True))
        inner = self.get("LiteRtFindCpuOptions", cpu)
        self.call("LiteRtSetCpuOptionsNumThread", inner, threads)
        return [runtime, cpu]


def library(version: str, folder: str) -> Library:
    """The library of a version."""
    if ctypes.sizeof(ctypes.c_void_p) != 8:
        raise UnofferedError("they are known to work on 64-bit machines only")
    kinds = {"2.1": Library21, "2.3": Library}
    kind = kinds.get(".".join(version.split(".")[:2]))
    if kind is None:
        raise UnofferedError("they are known to work with ai-edge-litert 2.1 and 2.3 only")
    return kind(folder)


class ProfiledModel:
    """A model that runs under the profiler.

    Args:
        library: of the runtime.
        path: of the model file.
        threads: of the runtime.
        xnnpack: whether XNNPACK runs what it can.
        contents: the bytes of each input, in the model's order.
    """

    def __init__(
        self, library: Library, path: str, threads: int, xnnpack: bool, contents: Sequence[bytes]
    ) -> None:
        self.library, self.environment = library, library.environment()
        self.model = library.model(self.environment, path)
        self.compiled = library.compile(self.environment, self.model, threads, xnnpack)
        self.inputs, self.outputs = self.buffers("Input"), self.buffers("Output")
        for buffer, content in zip(self.inputs, contents):
            self.fill(ctypes.c_void_p(buffer), content)
        self.profiler = library.get("LiteRtCompiledModelGetProfiler", self.compiled)
        if not self.profiler:
            raise UnofferedError("the runtime made no profiler")

    def buffers(self, which: str) -> Any:
        """New memory for all inputs or outputs of the first signature."""
        library, count = self.library, ctypes.c_size_t()
        graph = library.get("LiteRtGetModelSubgraph", self.model, ctypes.c_size_t(0))
        library.call("LiteRtGetNumSubgraph%ss" % which, graph, ctypes.byref(count))
        made = []
        for number in map(ctypes.c_size_t, range(count.value)):
            tensor = library.get("LiteRtGetSubgraph" + which, graph, number)
            shape = ctypes.create_string_buffer(1024)
            library.call("LiteRtGetRankedTensorType", tensor, shape)
            needs = library.get(
                "LiteRtGetCompiledModel%sBufferRequirements" % which,
                self.compiled,
                ctypes.c_size_t(0),
                number,
            )
            name = "LiteRtCreateManagedTensorBufferFromRequirements"
            made.append(library.get(name, self.environment, shape, needs).value)
        return (ctypes.c_void_p * len(made))(*made)

    def fill(self, buffer: ctypes.c_void_p, content: bytes) -> None:
        """Copy an input's bytes into its memory."""
        size, address = ctypes.c_size_t(), ctypes.c_void_p()
        self.library.call("LiteRtGetTensorBufferPackedSize", buffer, ctypes.byref(size))
        if size.value != len(content):
            raise UnofferedError("an input has %d bytes, not %d" % (size.value, len(content)))
        self.library.call("LiteRtLockTensorBuffer", buffer, ctypes.byref(address), WRITE)
        ctypes.memmove(address, content, len(content))
        self.library.call("LiteRtUnlockTensorBuffer", buffer)

    def run(self) -> None:
        """One inference."""
        self.library.call(
            "LiteRtRunCompiledModel",
            self.compiled,
            ctypes.c_size_t(0),
            ctypes.c_size_t(len(self.inputs)),
            self.inputs,
            ctypes.c_size_t(len(self.outputs)),
            self.outputs,
        )

    def profile(self, count: int) -> List[Run]:
        """So many inferences under the profiler."""
        self.library.call("LiteRtStartProfiler", self.profiler)
        for _ in range(count):
            self.run()
        self.library.call("LiteRtStopProfiler", self.profiler)
        number = ctypes.c_int()
        self.library.call("LiteRtGetNumProfilerEvents", self.profiler, ctypes.byref(number))
        events = (ProfiledEvent * number.value)()
        self.library.call("LiteRtGetProfilerEvents", self.profiler, number, events)
        runs = split(events)
        self.library.call("LiteRtResetProfiler", self.profiler)
        if len(runs) != count:
            raise UnofferedError("%d runs are told of as %d" % (count, len(runs)))
        return runs


def split(events: Any) -> List[Run]:
    """The events of each inference: its own comes first, then those of its operators."""
    runs = []  # type: List[Run]
    for event in events:
        if event.kind == WHOLE_KIND and event.tag == WHOLE:
            runs.append((event.elapsed_us, []))
        elif event.kind in OPERATOR_KINDS and runs:
            runs[-1][1].append((event.tag.decode("utf-8", "replace"), event.elapsed_us))
    return runs
