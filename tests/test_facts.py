"""Facts are pure: what each reads from answers of real and made-up boards, and from rubbish."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepack import plugins
from edgepack.agent import lock
from edgepack.boards.probe import LIMIT_BYTES
from edgepack.boards.traces import LOCKS

SHELLS = [s for s in ("dash", "bash --posix", "busybox sh") if shutil.which(s.split()[0])]
FACTS = plugins.names("facts")
BOARDS = Path(__file__).parent / "boards"
TEXTS = [path.read_text(encoding="utf-8") for path in sorted(BOARDS.glob("*.txt"))]
LINES = sorted({line for text in TEXTS for line in text.splitlines()})


def parse(name: str, text: str) -> dict[str, Any]:
    fact = plugins.load("facts", name)
    found = fact.parse(text)
    return json.loads(json.dumps(found)) if found else {}


@pytest.mark.parametrize("name", FACTS)
def test_a_command_is_an_argument_list_that_a_shell_can_quote(name: str) -> None:
    argv = plugins.load("facts", name).command()
    assert argv and all(type(word) is str and "\0" not in word for word in argv)
    assert argv == plugins.load("facts", name).command()


@pytest.mark.parametrize("name", FACTS)
@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_is_one_for_every_shell(name: str, shell: str) -> None:
    argv = plugins.load("facts", name).command()
    for script in [argv[2]] if argv[:2] == ["sh", "-c"] else []:
        words = [*shell.split(), "-n", "-c", script]
        done = subprocess.run(words, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("name", FACTS)
@pytest.mark.parametrize("text", ["", "\n", "\0", "=", ":", "sh: 1: vcgencmd: not found\n"])
def test_a_board_without_the_tools_is_an_empty_mapping(name: str, text: str) -> None:
    assert parse(name, text) == {}


anything = st.text(max_size=200) | st.lists(st.sampled_from(LINES) | st.text(max_size=40)).map(
    "\n".join
)
mangled = st.builds(
    lambda line, at, rest: line[:at] + rest + line[at:],
    st.sampled_from(LINES),
    st.integers(0, 60),
    st.sampled_from(["", "=", ":", "9" * 5000, "²", "-", " ", "%", "\x85", "0x", "١٢"]),
)


@pytest.mark.parametrize("name", FACTS)
@settings(max_examples=60, deadline=None)
@given(text=anything | st.lists(mangled, max_size=8).map("\n".join))
def test_parse_never_raises_and_gives_plain_data(name: str, text: str) -> None:
    found = plugins.load("facts", name).parse(text)
    assert json.loads(json.dumps(found, allow_nan=False)) == dict(found)


@pytest.mark.parametrize("name", FACTS)
@pytest.mark.parametrize(
    "piece", ["9 ", " \n", "interpreter=", "/a/b:1\n", "processor\t: 1\n", "("]
)
def test_a_huge_answer_is_read_in_no_time(name: str, piece: str) -> None:
    text = piece * (LIMIT_BYTES // len(piece))
    start = time.perf_counter()
    found = parse(name, text)
    assert time.perf_counter() - start < 2
    assert len(json.dumps(found)) < 2 * LIMIT_BYTES


def test_model_of_a_device_tree_goes_before_the_firmware_s() -> None:
    text = "model=Raspberry Pi 5 Model B Rev 1.0|\ncompatible=a|b|\nsys_vendor=QEMU\n"
    assert parse("model", text) == {
        "name": "Raspberry Pi 5 Model B Rev 1.0",
        "source": "device-tree",
        "compatible": ["a", "b"],
    }


def test_model_by_dmi() -> None:
    found = parse("model", "sys_vendor=QEMU\nproduct_name=Standard PC (i440FX + PIIX, 1996)\n")
    assert found["name"] == "QEMU Standard PC (i440FX + PIIX, 1996)"
    assert found["source"] == "dmi"


@pytest.mark.parametrize(
    ("machine", "said", "architecture"),
    [
        ("aarch64", "dpkg=arm64\nbits=64", "aarch64"),
        ("aarch64", "dpkg=armhf\nbits=32", "armv7l"),
        ("aarch64", "dpkg=\nbits=32", "armv7l"),
        ("aarch64", "dpkg=\nelf_class=   1", "armv7l"),
        ("aarch64", "dpkg=\nelf_class=   2", "aarch64"),
        ("armv7l", "dpkg=armhf\nbits=32", "armv7l"),
        ("armv8l", "dpkg=\nbits=32", "armv7l"),
        ("armv6l", "dpkg=armhf\nbits=32", "armv6l"),
        ("armv7l", "dpkg=armel\nbits=32", "armel"),
        ("x86_64", "dpkg=amd64\nbits=64", "x86_64"),
        ("x86_64", "dpkg=i386\nbits=32", "i686"),
        ("riscv64", "dpkg=riscv64\nbits=64", "riscv64"),
    ],
)
def test_architecture_is_the_user_land_s(machine: str, said: str, architecture: str) -> None:
    found = parse("system", f"uname=6.1.21-v8+ {machine}\n{said}\nos.ID=debian\n")
    assert found["architecture"] == architecture
    assert (found["kernel"], found["machine"]) == ("6.1.21-v8+", machine)


def test_os_release_with_and_without_quotes() -> None:
    found = parse("system", 'os.ID="alpine"\nos.VERSION_ID=\'3.20\'\nos.PRETTY_NAME="A "b""\n')
    assert (found["distribution"], found["distribution_version"]) == ("alpine", "3.20")
    assert found["pretty_name"] == 'A "b"'


@pytest.mark.parametrize(
    ("text", "name", "version"),
    [
        ("glibc 2.36\nldd (Debian GLIBC 2.36-9+deb12u9) 2.36\n", "glibc", "2.36"),
        ("ldd (GNU libc) 2.17\n", "glibc", "2.17"),
        ("musl libc (aarch64)\nVersion 1.2.5\n", "musl", "1.2.5"),
        ("sh: ldd: not found\n/lib/ld-musl-armhf.so.1\n", "musl", ""),
        ("/lib/libuClibc-1.0.34.so\n", "uclibc", "1.0.34"),
    ],
)
def test_libc(text: str, name: str, version: str) -> None:
    assert parse("libc", text) == {"name": name, "version": version}


def test_cores_of_two_kinds_share_the_flags_that_both_have() -> None:
    text = (
        "CPU implementer\t: 0x41\nCPU part\t: 0xd05\nCPU part\t: 0xd0b\n"
        "Features\t: fp asimd asimddp\nFeatures\t: fp asimd\n"
        "processor\t: 0\nprocessor\t: 7\nonline: 8\n"
    )
    found = parse("cpu", text)
    assert found["name"] == "Cortex-A55 + Cortex-A76"
    assert (found["flags"], found["cores"]) == (["asimd", "fp"], 2)


def test_a_core_that_nobody_knows_keeps_its_number() -> None:
    assert parse("cpu", "CPU implementer : 0x41\nCPU part : 0xd99\n")["name"] == "Arm core 0xd99"
    other = parse("cpu", "CPU implementer : 0x61\nCPU part : 0x022\nmodel name : Apple M1\n")
    assert other["name"] == "Apple M1"


def test_memory_in_kib() -> None:
    text = "MemTotal:         490988 kB\nMemAvailable:     456228 kB\nSwapTotal:  0 kB\n"
    assert parse("memory", text) == {"ram_kib": 490988, "available_kib": 456228, "swap_kib": 0}
    assert parse("memory", "MemTotal: many kB\nMemAvailable: -4 kB\n") == {}


def test_disk_behind_a_device_with_spaces_and_a_mount_point_with_spaces() -> None:
    head = "Filesystem     1024-blocks  Used Available Capacity Mounted on\n"
    text = f"{head}//nas/my share  2058088 250292   1686556      13% /media/my disk\nwritable: no\n"
    found = parse("disk", text)
    assert (found["free_kib"], found["mount"]) == (1686556, "/media/my disk")
    assert (found["writable"], found["executable"]) == (False, True)


def test_disk_mounted_noexec_and_one_that_is_more_than_full() -> None:
    text = (
        "Filesystem 1024-blocks Used Available Capacity Mounted on\n"
        "/dev/sda1 100 104 -4 105% /home\nwritable: yes\n"
        "noexec: proc /proc proc rw,noexec 0 0\nnoexec: /dev/sda1 /home ext4 rw,noexec 0 0\n"
    )
    found = parse("disk", text)
    assert (found["free_kib"], found["writable"], found["executable"]) == (0, True, False)


def test_frequency_of_cpus_without_policies() -> None:
    base = "/sys/devices/system/cpu/cpu0/cpufreq"
    text = f"{base}/scaling_governor:powersave\n{base}/scaling_cur_freq:<unknown>\n"
    assert parse("frequency", text) == {"policies": [{"name": "cpu0", "governor": "powersave"}]}


def test_zones_that_are_not_read_are_left_out() -> None:
    base = "/sys/class/thermal/thermal_zone"
    text = f"{base}0/type:soc\n{base}0/temp:-273200\n{base}1/temp:48312\n{base}2/temp:many\n"
    zones = [{"name": "thermal_zone1", "temperature_c": 48.312}]
    assert parse("temperature", text) == {"zones": zones}
    firmware = [{"name": "firmware", "temperature_c": 48.3}]
    assert parse("temperature", "temp=48.3'C\n") == {"zones": firmware}


@pytest.mark.parametrize(
    ("text", "bits", "now", "since_boot"),
    [
        ("throttled=0x0\n", 0, [], []),
        ("throttled=0x50005\n", 0x50005, *[["under-voltage", "throttled"]] * 2),
        ("throttled=0xe0008\n", 0xE0008, ["soft-temperature-limit"], None),
        ("/sys/devices/platform/soc/soc:firmware/get_throttled:20002\n", 0x20002, None, None),
    ],
)
def test_throttle_bits(text: str, bits: int, now: object, since_boot: object) -> None:
    found = parse("throttle", text)
    assert found["bits"] == bits
    assert now is None or found["now"] == now
    assert since_boot is None or found["since_boot"] == since_boot


def test_a_firmware_that_does_not_answer_is_no_zero() -> None:
    assert parse("throttle", 'error=1 error_msg="Command not registered"\n') == {}
    assert parse("throttle", "VCHI initialization failed\n") == {}


def test_edge_tpu_on_usb_that_the_user_may_not_use() -> None:
    found = parse("edgetpu", "usb=/dev/bus/usb/002/003 no\ngroups=pi video\n")
    assert found == {
        "attached": "usb",
        "nodes": [{"path": "/dev/bus/usb/002/003", "accessible": False}],
        "libraries": [],
        "groups": ["pi", "video"],
    }


def test_edge_tpu_on_pcie_without_its_driver() -> None:
    found = parse("edgetpu", "pcie=0000:01:00.0\ngroups=pi\n")
    assert (found["attached"], found["nodes"]) == ("pcie", [])


LEASE = {"owner": "me@host", "token": "t", "boot_id": "b", "since_s": 70.0, "until_s": 110.0}


@pytest.mark.parametrize(
    ("change", "owner"),
    [
        ({}, "me@host"),
        ({"owner": ""}, "a process without a name"),
        ({"boot_id": "of another start"}, ""),
        ({"until_s": 89.0}, ""),
        ({"until_s": 1e9}, ""),
        ({"until_s": "soon"}, ""),
        ({"since_s": 91.0}, ""),
        ({"since_s": None}, ""),
    ],
)
def test_a_lease_counts_while_it_lasts(change: dict[str, Any], owner: str) -> None:
    lease = json.dumps({**LEASE, **change})
    found = parse("lease", f"boot_id=b\nuptime_s=90.00\nlease=not JSON\nlease={lease}\n")
    assert found == {"owner": owner, "held_s": 20.0 if owner else 0.0}


def test_a_lease_of_the_agent_itself_is_read(tmp_path: Path) -> None:
    """What the agent leaves in its file is what the fact reads, by a clock of the same start."""
    file = tmp_path / "lock"
    assert lock.take(str(file), "me@host", "token", 1.0)["taken"]
    argv = plugins.load("facts", "lease").command()
    environment = {**os.environ, "EDGEPACK_FOLDER": str(tmp_path)}
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env=environment)
    mine = "\n".join(
        line for line in done.stdout.splitlines() if "lease=" not in line or "me@host" in line
    )
    assert parse("lease", mine)["owner"] == "me@host"
    lock.release(str(file), "token")
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env=environment)
    assert "me@host" not in done.stdout


def test_the_locks_are_those_of_the_agent() -> None:
    assert {f"{folder}/{lock.NAME}" for folder in lock.PUBLIC} == set(LOCKS)
    assert plugins.load("facts", "lease").LEASE_S == lock.LEASE_S


PYTHON = (
    "interpreter={path}\nversion={version}\nimplementation=cpython\nreal={path} in /usr\n"
    "bits=64\nplatform=linux-aarch64\nlibc=glibc 2.36\nlibstdcxx=yes\nmissing=\n"
)


def test_pythons_that_do_not_run_are_set_apart() -> None:
    good = PYTHON.format(path="/usr/bin/python3", version="3.11.2")
    found = parse("python", f"{good}interpreter=/opt/bin/python3\nfailed=127\n")
    assert [entry["path"] for entry in found["interpreters"]] == ["/usr/bin/python3"]
    assert found["broken"] == [{"path": "/opt/bin/python3", "exit_code": 127}]


def test_a_python_that_is_killed_half_way_does_not_count() -> None:
    text = PYTHON.format(path="/usr/bin/python3", version="3.11.2").partition("libstdcxx")[0]
    assert parse("python", text + "failed=132\n")["interpreters"] == []


def test_names_of_one_python_are_one() -> None:
    twice = PYTHON.format(path="/usr/bin/python3", version="3.11.2")
    again = twice.replace("interpreter=/usr/bin/python3", "interpreter=/bin/python3.11")
    assert [p["path"] for p in parse("python", twice + again)["interpreters"]] == [
        "/usr/bin/python3"
    ]


def test_python_of_32_bits_under_a_64_bit_kernel() -> None:
    text = PYTHON.format(path="/usr/bin/python3", version="3.9.2").replace("bits=64", "bits=32")
    assert parse("python", text)["interpreters"][0]["architecture"] == "armv7l"


def test_the_program_finds_packages_without_importing_them(tmp_path: Path) -> None:
    """Packages are found by their folders, and a folder of that name in the home is none."""
    fact = plugins.load("facts", "python")
    (tmp_path / "numpy").mkdir()
    (tmp_path / "json.py").write_text("raise SystemExit('imported from the home')")
    site = tmp_path / "site"
    for name, release in (("tflite_runtime", "tflite_runtime-2.5.0.post1.egg-info"),):
        (site / name).mkdir(parents=True)
        (site / name / "__init__.py").write_text("raise SystemExit('imported')")
        (site / release).mkdir()
    argv = [sys.executable, "-S", "-c", fact.PROGRAM]
    done = subprocess.run(
        argv,
        cwd=tmp_path,
        env={"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = parse("python", f"interpreter={sys.executable}\n{done.stdout}")["interpreters"][0]
    assert found["packages"] == {"tflite-runtime": "2.5.0.post1"}
    assert found["version"] == ".".join(map(str, sys.version_info[:3]))
    assert found["missing"] == []


def test_the_program_says_its_version_on_a_python_that_is_too_old_for_all_else() -> None:
    tree = ast.parse(plugins.load("facts", "python").PROGRAM, feature_version=(3, 4))
    assert not any(isinstance(node, ast.JoinedStr) for node in ast.walk(tree))
