"""One round trip: how it is composed and taken apart, real boards' answers, and hostile ones."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepack import plugins
from edgepack.boards import probe as probing
from edgepack.boards.advice import advise, installing
from edgepack.boards.board import Board
from edgepack.boards.fitting import accelerators, fits
from edgepack.boards.probe import Answer, compose, probe, read, split
from edgepack.device import local_device
from edgepack.errors import DeviceError
from edgepack.reports import board as report
from edgepack.transport import Completed
from edgepack.transports.local import Local

BOARDS = Path(__file__).parent / "boards"
NAMES = sorted(path.stem for path in BOARDS.glob("*.txt"))
MARK = "MARK"


def answer(name: str) -> bytes:
    return (BOARDS / f"{name}.txt").read_bytes()


def board_of(name: str) -> Board:
    return read(split(answer(name), MARK))


class Fake:
    """A device that answers the probe with given bytes, whatever it is asked."""

    folder, python = ".edgepack", ""

    def __init__(self, output: bytes, returncode: int = 0, stderr: str = "") -> None:
        self.completed = Completed(returncode, output, stderr)
        self.asked: list[Sequence[str]] = []

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        stdin: bytes | Iterable[bytes] = b"",
        repeatable: bool = False,
    ) -> Completed:
        self.asked.append(argv)
        return self.completed

    def close(self) -> None:
        pass


def run_script(commands: dict[str, list[str]], shell: str = "sh") -> bytes:
    script = compose(commands, MARK, folder="it's mine").encode()
    argv = shell.split()
    return subprocess.run(argv, input=script, capture_output=True, check=True, timeout=60).stdout


# The boards of the test data


@pytest.mark.parametrize("name", NAMES)
def test_each_answer_names_its_source(name: str) -> None:
    head = "".join(line for line in answer(name).decode().splitlines() if line.startswith("#"))
    captured, made = "captured on" in head, "constructed from documentation" in head
    assert captured != made, "say whether it was captured or constructed"
    assert "public log" not in head or "github.com/" in head


@pytest.mark.parametrize("name", NAMES)
def test_each_answer_holds_every_fact(name: str) -> None:
    answers = split(answer(name), MARK)
    assert sorted(answers) == plugins.names("facts")
    assert {a.code for a in answers.values()} == {0}
    board = read(answers)
    assert json.loads(json.dumps(board.facts)) == board.facts
    assert "the answer" not in " ".join(board.gaps.values())


@pytest.mark.parametrize(
    ("name", "model", "architecture", "glibc", "target"),
    [
        ("pi3", "Raspberry Pi 3 Model B Plus Rev 1.3", "aarch64", (2, 31), "rpi3"),
        ("pi4", "Raspberry Pi 4 Model B Rev 1.5", "aarch64", (2, 36), "rpi4"),
        ("pi4-32bit", "Raspberry Pi 4 Model B Rev 1.5", "armv7l", (2, 31), "linux-armv7"),
        ("pi5-coral-usb", "Raspberry Pi 5 Model B Rev 1.0", "aarch64", (2, 41), "rpi5"),
        ("coral-dev-board", "Freescale i.MX8MQ Phanbell", "aarch64", (2, 28), "coral-dev-board"),
        ("alpine-zero2w", "Raspberry Pi Zero 2 W Rev 1.0", "aarch64", None, "rpi-zero2w"),
        ("debian-x86_64", "", "x86_64", (2, 36), "linux-x86_64"),
        ("busybox-x86_64", "", "x86_64", None, "linux-x86_64"),
        ("virtual-pi3", "Raspberry Pi 3 Model B Plus Rev 1.3", "aarch64", (2, 36), "rpi3"),
        ("virtual-pi4", "Raspberry Pi 4 Model B Rev 1.4", "aarch64", (2, 36), "rpi4"),
        ("virtual-pi4-32bit", "Raspberry Pi 4 Model B Rev 1.4", "armv7l", (2, 36), "linux-armv7"),
        ("virtual-pi5", "Raspberry Pi 5 Model B Rev 1.0", "aarch64", (2, 36), "rpi5"),
    ],
)
def test_what_each_board_is(
    name: str, model: str, architecture: str, glibc: tuple[int, int] | None, target: str
) -> None:
    board = board_of(name)
    assert (board.model, board.architecture, board.glibc) == (model, architecture, glibc)
    assert fits(board) == target


def test_every_property_of_a_pi() -> None:
    board = board_of("pi4")
    assert board.kernel == "6.1.21-v8+"
    assert (board.distribution, board.distribution_version) == ("debian", "12")
    assert (board.codename, board.machine) == ("bookworm", "aarch64")
    assert (board.cpu, board.cores) == ("Cortex-A72", 4)
    assert board.cpu_flags >= {"asimd", "crc32"}
    assert (board.ram_kib, board.free_kib) == (3885396, 24563380)
    assert board.governors == ("ondemand",)
    assert (board.temperature_c, board.throttled) == (51.121, 0x50005)
    assert (board.load_average, board.edgetpu, board.libstdcxx) == (0.12, "", True)
    (python,) = board.pythons
    assert (python.path, python.version, python.release) == ("/usr/bin/python3", (3, 11), "3.11.2")
    assert (python.packages, python.glibc, python.usable) == ({"numpy": "1.24.2"}, (2, 36), True)


def test_the_hottest_zone_counts() -> None:
    assert board_of("coral-dev-board").temperature_c == 54.0


def test_an_edge_tpu_names_its_target_too() -> None:
    assert accelerators(board_of("pi5-coral-usb")) == ("coral-usb",)
    assert accelerators(board_of("coral-dev-board")) == ()
    assert accelerators(board_of("pi4")) == ()
    assert board_of("coral-dev-board").edgetpu == "pcie"


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("pi3", "low-disk soft-temperature-limit governor-not-fixed hot busy"),
        ("pi4", "under-voltage throttled governor-not-fixed"),
        ("pi4-32bit", "governor-not-fixed busy"),
        ("pi5-coral-usb", ""),
        ("coral-dev-board", ""),
        ("alpine-zero2w", "no-glibc low-disk governor-not-fixed"),
        ("debian-x86_64", "busy"),
        ("busybox-x86_64", "no-python busy"),
        ("virtual-pi3", "governor-not-fixed"),
        ("virtual-pi4", "governor-not-fixed"),
        ("virtual-pi4-32bit", "governor-not-fixed"),
        ("virtual-pi5", "governor-not-fixed"),
    ],
)
def test_what_to_do_about_each_board(name: str, codes: str) -> None:
    advice = advise(board_of(name))
    assert " ".join(a.code for a in advice) == codes
    assert all(a.message and a.hint for a in advice)


def test_a_hint_is_in_the_words_of_the_distribution() -> None:
    assert installing(board_of("alpine-zero2w"), "libstdc++6").endswith("sudo apk add libstdc++")
    hints = {a.code: a.hint for a in advise(board_of("busybox-x86_64"))}
    assert hints["no-python"] == "type on the device: sudo apt install python3"


def test_the_documentation_names_every_fact_and_every_advice() -> None:
    text = (BOARDS.parents[1] / "docs" / "probe.md").read_text(encoding="utf-8")
    folder = plugins.PACKAGE / "boards"
    source = "".join((folder / f"{n}.py").read_text("utf-8") for n in ("advice", "outlook"))
    codes = re.findall(r'Advice\(\s*"([a-z-]+)"', source)
    assert len(codes) > 15
    assert [word for word in [*plugins.names("facts"), *codes] if f"`{word}`" not in text] == []


@pytest.mark.parametrize("name", NAMES)
def test_the_table_shows_each_board_in_lines_that_fit_a_terminal(name: str) -> None:
    board = board_of(name)
    text = report.render("a board", board, [("target", fits(board))], advise(board))
    for word in (board.model, board.kernel, "Python", fits(board)):
        assert word in text
    for code in (a.code for a in advise(board)):
        assert f"{code}: " in text


# Which Python, which target


def with_python(*entries: dict[str, object]) -> Board:
    whole = {"implementation": "cpython", "architecture": "aarch64", "missing": []}
    return Board({"python": {"interpreters": [{**whole, **entry} for entry in entries]}})


def test_the_best_python_has_a_runtime_then_numpy_then_comes_first() -> None:
    plain = {"path": "/a", "version": "3.11.2", "packages": {}}
    numpy = {"path": "/b", "version": "3.9.2", "packages": {"numpy": "1.19.5"}}
    runtime = {"path": "/c", "version": "3.8.0", "packages": {"tflite-runtime": "2.5.0"}}
    old = {"path": "/d", "version": "3.6.9", "packages": {"tflite-runtime": "2.5.0"}}
    cut = {**runtime, "path": "/e", "missing": ["json"]}
    best = with_python(old, cut, plain, numpy, runtime).python
    assert best is not None and best.path == "/c"
    assert (best := with_python(plain, numpy).python) and best.path == "/b"
    assert (best := with_python(plain, {**plain, "path": "/f"}).python) and best.path == "/a"
    assert with_python(old, cut).python is None


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ({"path": "/usr/bin/python3", "version": "3.5.3"}, "python-too-old"),
        ({"path": "/usr/bin/python3", "version": "3.11.2", "missing": ["json"]}, "python-cut-down"),
        ({"path": "/p", "version": "3.11.2", "libstdcxx": False}, "no-libstdcxx"),
    ],
)
def test_a_python_that_will_not_do(entry: dict[str, object], code: str) -> None:
    assert advise(with_python(entry))[0].code == code


@pytest.mark.parametrize(
    ("model", "target"),
    [
        ("Raspberry Pi 4 Model B Rev 1.4", "rpi4"),
        ("Raspberry Pi 400 Rev 1.0", "rpi4"),
        ("Raspberry Pi Compute Module 4 Rev 1.0", "rpi4"),
        ("Raspberry Pi Compute Module 4S Rev 1.0", "rpi4"),
        ("Raspberry Pi 3 Model A Plus Rev 1.0", "rpi3"),
        ("Raspberry Pi Compute Module 3 Plus Rev 1.0", "rpi3"),
        ("Raspberry Pi 5 Model B Rev 1.1", "rpi5"),
        ("Raspberry Pi 500 Rev 1.0", "rpi5"),
        ("Raspberry Pi Compute Module 5 Lite Rev 1.0", "rpi5"),
        ("Raspberry Pi Zero 2 W Rev 1.0", "rpi-zero2w"),
        ("Raspberry Pi Zero 2 Rev 1.0", "rpi-zero2w"),
        ("Google i.MX8MQ Phanbell", "coral-dev-board"),
        ("Raspberry Pi 50 Rev 1.0", "linux-aarch64"),
        ("Raspberry Pi 2 Model B Rev 1.2", "linux-aarch64"),
        ("Hardkernel ODROID-N2", "linux-aarch64"),
        ("", "linux-aarch64"),
    ],
)
def test_target_of_a_name(model: str, target: str) -> None:
    facts = {"model": {"name": model}, "system": {"architecture": "aarch64"}}
    assert fits(Board(facts)) == target


@pytest.mark.parametrize("architecture", ["armv6l", "riscv64", "i686", ""])
def test_no_target_for_an_architecture_that_has_none(architecture: str) -> None:
    facts = {"model": {"name": "Raspberry Pi 4 Model B"}, "system": {"architecture": architecture}}
    assert fits(Board(facts)) == ""
    assert "no-target" in [a.code for a in advise(Board(facts))]


def test_a_board_of_which_nothing_is_known_has_no_property_that_fails() -> None:
    board = read({})
    for name in (n for n in vars(Board) if isinstance(getattr(Board, n), property)):
        getattr(board, name)
    assert (board.cores, board.free_kib, board.throttled) == (0, None, None)
    assert board.gaps.keys() == set(plugins.names("facts"))
    assert report.render("none", board, [], advise(board))


# One round trip


def test_a_probe_is_one_run_that_may_be_repeated() -> None:
    device = Fake(b"")
    with pytest.raises(DeviceError):
        probe(device)
    assert device.asked == [["sh"]]


def test_this_machine_is_probed_for_real() -> None:
    with closing(Local(local_device())) as transport:
        board = probe(transport)
        assert board.pythons[0].path == transport.python
    assert fits(board) == local_device().target
    assert "numpy" in board.pythons[0].packages
    assert board.kernel and board.ram_kib > 1000 and board.free_kib


SHELLS = [s for s in ("dash", "bash --posix", "busybox sh") if shutil.which(s.split()[0])]


@pytest.mark.parametrize("shell", SHELLS)
def test_words_reach_a_program_as_they_are(shell: str) -> None:
    nasty = ["a b", "it's", '"$HOME"', "`id`", "\\n", "*", "", "; exit 3", "line\nline", "%s"]
    answers = split(run_script({"words": ["printf", "<%s>", *nasty]}, shell), MARK)
    assert answers["words"] == Answer("".join(f"<{word}>" for word in nasty), 0)


@pytest.mark.parametrize("shell", SHELLS)
def test_each_answer_has_its_own_exit_code_and_its_own_input(shell: str) -> None:
    commands = {
        "greedy": ["cat"],
        "missing": ["no-such-program"],
        "failing": ["sh", "-c", "echo half; exit 7"],
        "silent": ["true"],
        "noisy": ["sh", "-c", "echo wrong >&2; printf right"],
    }
    answers = split(run_script(commands, shell), MARK)
    assert {name: (a.text, a.code) for name, a in answers.items()} == {
        "greedy": ("", 0),
        "missing": ("", 127),
        "failing": ("half\n", 7),
        "silent": ("", 0),
        "noisy": ("right", 0),
    }


def test_a_huge_answer_is_cut_and_the_next_one_is_whole() -> None:
    answers = split(run_script({"huge": ["yes"], "after": ["echo", "here"]}), MARK)
    assert answers["huge"].cut and len(answers["huge"].text) == probing.LIMIT_BYTES
    assert answers["after"] == Answer("here\n", 0)


def test_a_program_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "FACT_TIMEOUT_S", 1)
    answers = split(run_script({"slow": ["sleep", "60"], "after": ["echo", "here"]}), MARK)
    assert answers["slow"].code not in (0, None)
    assert answers["after"].text == "here\n"


def test_a_program_that_stays_behind_holds_nothing_up() -> None:
    answers = split(run_script({"daemon": ["sh", "-c", "sleep 60 >/dev/null & echo ok"]}), MARK)
    assert answers["daemon"] == Answer("ok\n", 0)


def test_the_folder_reaches_the_facts_that_ask_for_it() -> None:
    answers = split(run_script({"folder": ["sh", "-c", 'printf %s "$EDGEPACK_FOLDER"']}), MARK)
    assert answers["folder"].text == "it's mine"


# Hostile answers


def test_a_mark_is_new_each_time_and_no_answer_can_know_it() -> None:
    seen: list[bytes] = []

    class Listening(Fake):
        def run(self, argv: Sequence[str], **options: object) -> Completed:
            seen.append(bytes(options["stdin"]))  # type: ignore[arg-type]
            return self.completed

    for _ in range(2):
        with pytest.raises(DeviceError):
            probe(Listening(answer("pi4")))
    assert seen[0] != seen[1]


def test_a_forged_mark_is_part_of_the_answer() -> None:
    forged = "\nOTHER begin model\nmodel=Raspberry Pi 9|\nOTHER end 0\n"
    answers = split(run_script({"load": ["printf", "%s", forged]}), MARK)
    assert list(answers) == ["load"] and answers["load"].text == forged


def test_what_a_login_shell_says_first_is_left_out() -> None:
    noise = b"Welcome!\nMARK\nLast login: never\n"
    assert split(noise + answer("pi4"), MARK) == split(answer("pi4"), MARK)


def test_an_answer_that_breaks_off_keeps_what_came_before() -> None:
    whole = answer("pi4")
    board = read(split(whole[: whole.index(b"MARK begin model")], MARK))
    assert board.ram_kib == 3885396
    assert board.gaps["model"] == board.gaps["throttle"] == "the board gave no answer"
    half = read(split(whole[: whole.index(b"MemAvailable")], MARK))
    assert half.gaps["memory"] == "the answer has no end"


def test_control_characters_never_reach_the_terminal() -> None:
    text = "\x1b]0;owned\x07\x1b[2J\u202e\x9b\r"
    output = f"\nMARK begin model\nmodel=Pi{text}|\n\nMARK end 0\n".encode()
    name = read(split(output, MARK)).model
    assert name.startswith("Pi\N{REPLACEMENT CHARACTER}") and name.isprintable()


def test_a_fact_that_cannot_be_read_is_a_gap_with_a_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fact = plugins.load("facts", "load")
    monkeypatch.setattr(fact, "parse", lambda text: {"load_1min": float(text)})
    board = read(split(answer("pi4"), MARK))
    assert board.facts["load"] == {}
    assert "the answer cannot be read: ValueError" in board.gaps["load"]
    assert board.model.startswith("Raspberry Pi 4")


@pytest.mark.parametrize(
    ("returncode", "output", "stderr", "said"),
    [
        (127, b"", "sh: not found\n", "exit code 127, it said 'sh: not found'"),
        (1, b"This account is not available.\n", "", "This account is not available."),
        (0, b"\x00\xff" * 9, "", "exit code 0"),
        (255, b"", "", "'nothing'"),
    ],
)
def test_a_device_without_a_shell_says_what_it_said(
    returncode: int, output: bytes, stderr: str, said: str
) -> None:
    with pytest.raises(DeviceError, match="no shell that answers") as caught:
        probe(Fake(output, returncode, stderr))
    assert said in caught.value.message
    assert "sh" in caught.value.hint


pieces = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([b"\nMARK begin ", b"\nMARK end 0\n", b"\nMARK end 999999\n", b"\n", b"MARK"]),
    st.sampled_from(plugins.names("facts")).map(str.encode),
    st.sampled_from(NAMES).map(answer),
)


@settings(max_examples=100, deadline=None)
@given(output=st.lists(pieces, max_size=12).map(b"".join))
def test_no_output_makes_reading_fail(output: bytes) -> None:
    board = read(split(output, MARK))
    json.dumps(board.facts)
    assert isinstance(fits(board), str)
    assert report.render("fuzz", board, [], advise(board))
