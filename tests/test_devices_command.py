"""The command devices: lists without connecting, asks over real SSH, says what to do, cleans up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lab.machine import VirtualPi
from lab.ports import free_ports
from ssh_client import Account
from tiny import CommandLine

from edgepack.boards.board import Board
from edgepack.boards.outlook import outlook
from edgepack.boards.probe import read, split
from edgepack.device import Device
from edgepack.plugins import names

BOARDS = Path(__file__).parent / "boards"


def board_of(name: str) -> Board:
    return read(split((BOARDS / f"{name}.txt").read_bytes(), "MARK"))


@pytest.fixture(autouse=True)
def no_devices_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


# The list


def test_this_machine_is_always_listed(edgepack: CommandLine) -> None:
    found = edgepack("devices")
    assert found.code == 0
    (local,) = [line for line in found.out.splitlines() if line.startswith("local")]
    assert "this machine" in local and "linux-" in local


def test_the_list_connects_to_nothing(edgepack: CommandLine, tmp_path: Path) -> None:
    Path("devices.toml").write_text(
        '[kitchen]\naddress = "pi@192.0.2.1"\n\n'
        '[cellar]\naddress = "pi@192.0.2.2:2222"\ntarget = "rpi4"\n'
    )
    found = edgepack("devices")
    assert (found.code, found.err) == (0, "")
    rows = [line.split() for line in found.out.splitlines()]
    assert ["cellar", "pi@192.0.2.2:2222", "rpi4"] in rows
    assert ["kitchen", "pi@192.0.2.1", "as", "it", "is", "found"] in rows
    listed = json.loads(edgepack("devices", "--json").out)
    assert [device["name"] for device in listed] == ["local", "kitchen", "cellar"]


def test_a_mistake_in_devices_toml_is_named(edgepack: CommandLine) -> None:
    Path("devices.toml").write_text('[kitchen]\nadress = "pi@192.0.2.1"\n')
    found = edgepack("devices")
    assert found.code == 2
    assert "unknown key 'adress'" in found.err and "did you mean 'address'?" in found.err


# One device


def test_this_machine_is_shown(edgepack: CommandLine) -> None:
    found = edgepack("devices", "local")
    assert (found.code, found.err) == (0, "")
    assert sys.executable in found.out and "target" in found.out
    assert f"nothing: {sys.executable} has a runtime" in found.out


def test_json_has_every_fact(edgepack: CommandLine) -> None:
    found = json.loads(edgepack("devices", "local", "--json").out)
    assert sorted(found["facts"]) == names("facts")
    assert found["device"]["name"] == "local" and found["target"].startswith("linux-")
    assert found["python"] == sys.executable and found["brought"] == []
    assert all({"code", "message", "hint"} == set(advice) for advice in found["advice"])
    assert set(found["gaps"]) <= set(found["facts"])


def test_an_unknown_name_gets_the_nearest(edgepack: CommandLine) -> None:
    found = edgepack("devices", "lokal")
    assert found.code == 2
    assert "there is no device 'lokal'" in found.err and "did you mean 'local'?" in found.err


def test_a_board_is_asked_over_ssh(edgepack: CommandLine, account: Account) -> None:
    found = edgepack("devices", account.address(), "--json")
    assert (found.code, found.err) == (0, "")
    facts = json.loads(found.out)["facts"]
    assert facts["system"]["kernel"] == os.uname().release
    assert facts["disk"]["free_kib"] > 0
    assert "/usr/bin/python3" in [python["path"] for python in facts["python"]["interpreters"]]


def test_asking_leaves_nothing_behind(edgepack: CommandLine, account: Account) -> None:
    before = sorted(account.server.home.rglob("*"))
    assert edgepack("devices", account.address()).code == 0
    assert sorted(account.server.home.rglob("*")) == before


def test_a_device_by_the_name_in_devices_toml(edgepack: CommandLine, account: Account) -> None:
    address = account.address()
    Path("devices.toml").write_text(f'[desk]\naddress = "{address}"\ntarget = "rpi4"\n')
    found = edgepack("devices", "desk")
    assert found.code == 0
    assert found.out.startswith(f"desk: {address}\n")
    assert "other-target: devices.toml says rpi4, but the board is linux-" in found.out


def test_a_device_that_nobody_answers_on_ends_with_4(
    edgepack: CommandLine, account: Account
) -> None:
    (port,) = free_ports(1)
    account.know(port)
    found = edgepack("devices", account.address(port))
    assert found.code == 4
    assert "is closed" in found.err and "hint: " in found.err and found.out == ""


def test_an_unknown_host_key_is_refused_until_it_is_accepted(
    edgepack: CommandLine, stranger: Account
) -> None:
    stranger.take_key()
    refused = edgepack("devices", stranger.address())
    assert refused.code == 4
    assert "SHA256:" in refused.err and "--accept-new-host-key" in refused.err
    assert edgepack("devices", stranger.address(), "--accept-new-host-key").code == 0
    assert edgepack("devices", stranger.address()).code == 0


# What is brought along


@pytest.mark.parametrize(
    ("name", "first", "python"),
    [
        ("virtual-pi4", "ai-edge-litert==", "/usr/bin/python3"),
        ("pi5-coral-usb", "ai-edge-litert==", "/usr/bin/python3"),
        ("pi4-32bit", "tflite-runtime==", "/usr/bin/python3"),
        ("debian-x86_64", "ai-edge-litert==", "/usr/bin/python3"),
    ],
)
def test_what_a_board_is_given(name: str, first: str, python: str) -> None:
    found = outlook(Device("d"), board_of(name))
    assert found.brought[0].startswith(first)
    assert found.python == python
    assert "no-runtime" not in [advice.code for advice in found.advice]


@pytest.mark.parametrize("name", ["alpine-zero2w", "busybox-x86_64"])
def test_a_board_that_takes_no_runtime_is_given_none(name: str) -> None:
    found = outlook(Device("d"), board_of(name))
    assert (found.brought, found.python) == ((), "")


def test_an_environment_of_its_own_is_given_nothing() -> None:
    found = outlook(Device("d"), board_of("debian-x86_64"), "/usr/bin/python3")
    assert (found.brought, found.python) == ((), "/usr/bin/python3")
    assert [a.hint for a in found.advice if a.code == "no-runtime"] == [
        "type: /usr/bin/python3 -m pip install ai-edge-litert"
    ]


def test_this_machine_may_be_a_board_that_is_known_by_name() -> None:
    found = outlook(Device("local", "linux-aarch64", "local"), board_of("pi4"), "/usr/bin/python3")
    assert found.target == "rpi4"
    assert "other-target" not in [advice.code for advice in found.advice]


# Cleaning up


def test_clean_says_what_it_removes_and_removes_it(edgepack: CommandLine, account: Account) -> None:
    folder = account.server.home / ".edgepack"
    (folder / "files" / ("a" * 64)).mkdir(parents=True)
    (folder / "files" / ("a" * 64) / "model.tflite").write_bytes(b"x" * 40_000)
    (folder / "packages" / ("litert-2.3.0-" + "b" * 16)).mkdir(parents=True)
    (folder / "packages" / ".lock").touch()
    (folder / ".mine").write_text("mine")
    beside = account.server.home / "thesis.txt"
    beside.write_text("mine")
    found = edgepack("devices", account.address(), "--clean")
    assert found.code == 0
    assert "KiB  .edgepack/files/aaa" in found.out and ".edgepack/packages/litert" in found.out
    assert "stays, as edgepack did not make it: .edgepack/.mine" in found.out
    assert [path.name for path in folder.iterdir()] == [".mine"]
    (folder / ".mine").unlink()
    assert beside.read_text() == "mine"
    again = edgepack("devices", account.address(), "--clean", "--json")
    assert all(".edgepack" not in trace["path"] for trace in json.loads(again.out)["removed"])
    assert json.loads(again.out)["stays"] == [] and not folder.exists()


def test_nothing_is_removed_while_somebody_measures(
    edgepack: CommandLine, account: Account
) -> None:
    folder = account.server.home / ".edgepack"
    folder.mkdir(exist_ok=True)
    take = (
        "import sys; from edgepack.agent import lock;"
        "assert lock.take(sys.argv[1], 'anna@desk', 'token', 1)['taken']"
    )
    subprocess.run([sys.executable, "-c", take, str(folder / "lock")], check=True)
    shown = edgepack("devices", account.address())
    assert "in-use: anna@desk measures on it" in shown.out
    found = edgepack("devices", account.address(), "--clean")
    assert found.code == 4
    assert "anna@desk measures on" in found.err and "nothing was removed" in found.err
    assert (folder / "lock").exists()
    (folder / "lock").unlink()


def test_clean_wants_a_name(edgepack: CommandLine) -> None:
    found = edgepack("devices", "--clean")
    assert found.code == 2 and "edgepack devices NAME --clean" in found.err


# On a virtual board


def test_a_virtual_pi_is_what_its_device_tree_says(
    edgepack: CommandLine, virtual_pi: VirtualPi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = on_virtual_pi(edgepack, virtual_pi, monkeypatch, tmp_path)
    assert (found["target"], found["facts"]["cpu"]["name"]) == ("rpi4", "Cortex-A72")
    assert found["facts"]["python"]["interpreters"][0]["architecture"] == "aarch64"
    assert found["brought"][0].startswith("ai-edge-litert==")


def test_a_32_bit_system_is_not_a_64_bit_target(
    edgepack: CommandLine,
    virtual_pi_armhf: VirtualPi,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    found = on_virtual_pi(edgepack, virtual_pi_armhf, monkeypatch, tmp_path)
    assert found["facts"]["system"]["machine"] == "aarch64"
    assert found["facts"]["model"]["name"] == "Raspberry Pi 4 Model B Rev 1.4"
    assert found["target"] == "linux-armv7"
    assert found["brought"][0].startswith("tflite-runtime==")
    assert "python3-numpy" in found["brought"]


def on_virtual_pi(
    edgepack: CommandLine, pi: VirtualPi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> dict[str, Any]:
    """What the command says of a virtual board, as a user who knows its host and has its key."""
    ssh = tmp_path / "home" / ".ssh"
    ssh.mkdir(parents=True, mode=0o700)
    (ssh / "known_hosts").write_bytes(pi.known_hosts.read_bytes())
    (ssh / "config").write_text(f"Host *\n  IdentityFile {pi.key}\n")
    monkeypatch.setenv("HOME", str(ssh.parent))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    found = edgepack("devices", f"{pi.user}@{pi.host}:{pi.port}", "--json")
    assert found.code == 0, found.err
    return json.loads(found.out)
