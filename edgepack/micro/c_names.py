"""Words for C: identifiers and comments out of text that may come from anywhere."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from edgepack.errors import InputError

LONGEST_NAME = 48
"""What is longer is cut and told apart by a digest."""
LONGEST_REMARK = 160

WORD = re.compile(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*")
"""An identifier without the double or outer underscores that C and C++ keep for themselves."""
SECTION = re.compile(r"[A-Za-z0-9_.$][A-Za-z0-9_.$,-]{0,62}")
"""A section of an object file, or ``segment,section`` where Mach-O is written."""
NO_SECTIONS = {
    r"\.([slt]?bss|noinit|gnu\.linkonce\.s?b)": "starts out empty, without a model",
    r"\.([slt]?data|persistent)": "lies in RAM",
    r"\.(text|init|fini|plt)(\.|$)": "holds code",
    r"\.(preinit_array|init_array|fini_array|ctors|dtors|isr_vector|vectors|got)(\.|$)": (
        "holds the addresses that a program starts with"
    ),
    r"\.(z?debug|stab|rel|gnu\.|ARM\.)|\.(comment|note|line|hash|dynamic|group)(\.|$)": (
        "is for compilers, linkers and debuggers"
    ),
    r"\.(symtab|strtab|shstrtab|interp|eh_frame|gcc_except_table)(\.|$)": (
        "is for compilers, linkers and debuggers"
    ),
}
"""The beginnings of sections that assemblers and linker scripts keep for other things, and why.

Tried with gcc, arm-none-eabi-gcc and clang: they refuse, warn, or make the array writable.
"""
NOT_FOR_REMARKS = re.compile(r"[^A-Za-z0-9 ._:;,+@=()\[\]/-]")

KEYWORDS = """
    alignas alignof and and_eq asm atomic_cancel atomic_commit atomic_noexcept auto bitand bitor
    bool break case catch char char16_t char32_t char8_t class co_await co_return co_yield compl
    concept const const_cast consteval constexpr constinit continue decltype default delete do
    double dynamic_cast else enum explicit export extern false float for friend goto if inline
    int long mutable namespace new noexcept not not_eq nullptr operator or or_eq private
    protected public reflexpr register reinterpret_cast requires restrict return short signed
    sizeof static static_assert static_cast struct switch synchronized template this
    thread_local throw true try typedef typeid typename typeof typeof_unqual union unsigned
    using virtual void volatile wchar_t while xor xor_eq final import module override
"""
"""Of C up to C23 and C++ up to C++20, with those that are keywords only in some places."""

HEADERS = """
    algorithm any array assert atomic bitset charconv chrono complex condition_variable ctype
    deque errno exception execution fenv filesystem float forward_list fstream functional future
    initializer_list inttypes io iomanip ios iosfwd iostream istream iterator limits list locale
    malloc map math memory memory_resource mutex new numeric optional ostream queue random ratio
    regex set setjmp signal sstream stack stdalign stdarg stdatomic stdbool stddef stdexcept
    stdint stdio stdlib stdnoreturn streambuf string string_view strings system_error tgmath
    thread threads time tuple type_traits typeindex typeinfo uchar unistd unordered_map
    unordered_set utility valarray variant vector wchar wctype
"""
"""A file NAME.h would be taken for one of the language's own."""

TAKEN = "main std tflite flatbuffers arduino aux con nul prn"
"""Words that a project, a namespace or a file system gives another meaning."""

RESERVED = frozenset(f"{KEYWORDS} {HEADERS} {TAKEN}".split())


def c_name(text: str) -> str:
    """An identifier for C11, C++17 and files: ``my-model (1)`` gives ``my_model_1``.

    The same text always gives the same identifier. It has ASCII letters, digits and single
    underscores, begins with a letter, is at most `LONGEST_NAME` long, and no keyword, standard
    header or other word with a meaning.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = "_".join(re.findall(r"[A-Za-z0-9]+", plain)) or "model"
    if name.lower() in RESERVED or not name[0].isalpha():
        name = f"model_{name}"
    if len(name) > LONGEST_NAME:
        name = f"{name[: LONGEST_NAME - 9].rstrip('_')}_{_digest(text)}"
    return name


def check_name(name: str) -> None:
    """Refuse a name that somebody chose and that is no identifier.

    Raises:
        InputError: with the nearest identifier in its hint.
    """
    if not WORD.fullmatch(name) or name != c_name(name):
        raise InputError(
            f"{name!r} cannot name files and variables in C and C++", f"take {c_name(name)}"
        )


def check_section(section: str) -> None:
    """Refuse what cannot be a section's name; the empty word stands for none.

    Raises:
        InputError: if it holds anything but letters, digits and ``. _ $ , -``, or a model cannot
            lie there.
    """
    if section and not SECTION.fullmatch(section):
        raise InputError(
            f"{section!r} cannot name a section",
            "take letters, digits, dots, such as .rodata.model",
        )
    for pattern, reason in NO_SECTIONS.items():
        if re.match(pattern, section):
            raise InputError(
                f"a model cannot lie in the section {section}, which {reason}",
                "take .rodata.NAME, or a name that your linker script puts into flash",
            )


def remark(text: str) -> str:
    """One line for a comment: nothing in it ends the comment or the line, all of it is ASCII."""
    line = NOT_FOR_REMARKS.sub("_", text.strip())
    return line if len(line) <= LONGEST_REMARK else f"{line[: LONGEST_REMARK - 3]}..."


def file_remark(name: str) -> str:
    """A file's name for a comment: those of two files differ, though not all letters can stand."""
    line = remark(name)
    if line == name:
        return line
    return f"{line[: LONGEST_REMARK - 11]} [{_digest(name)}]"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
