"""Faults of a device and of the way to it, as whoever types ``edgepack bench`` meets them.

After each the same command works, unless another test shows that it does.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from benched import (
    FEW,
    IMPATIENT,
    LONG,
    SLOW,
    Bench,
    Desk,
    at_most,
    history,
    kill,
    know,
    make_bundle,
    wait_until,
    whole,
)
from lab import faults
from lab.fault_proxy import FaultProxy
from lab.machine import VirtualPi
from lab.ports import free_ports
from ssh_client import Account
from tiny import CommandLine, finish, start

from edgepack.agent import lock
from edgepack.artifact import sha256_of
from edgepack.measuring import stand
from edgepack.runtimes import litert

AT_WORK_S = 4.0
"""Until an emulated board has begun with what was started there."""

ALONE = 6.0
"""What a command takes to say that it cannot begin."""


@pytest.fixture
def model(models: Path) -> Path:
    return models / "hello_world_int8.tflite"


@pytest.fixture
def proxy(account: Account, desk: Desk) -> Iterator[FaultProxy]:
    """A fault proxy before the device."""
    with FaultProxy(account.server.port) as running:
        account.know(running.port)
        desk.reach(running.port)
        yield running


def check_again(bench: Bench, desk: Desk, model: Path, tmp_path: Path) -> None:
    """The device was left as a device that nothing befell, and is measured."""
    assert desk.rests() == []
    with at_most(20):
        (found,) = whole(bench(model, "--device", "desk", "--json", *FEW))
    assert found["model"]["sha256"] == sha256_of(model)
    assert "model-replaced" not in found["verdict"]["codes"]
    assert not [now for now in bench.told if now.task == "wait for the device"]


# No way in


def test_a_user_with_a_wrong_key(bench: Bench, stranger: Account, model: Path) -> None:
    stranger.know(stranger.server.port)
    stranger.take_key("stranger")
    with at_most(ALONE):
        ran = bench(model, "--device", stranger.address())
    ran.refused(4, "lets nobody in", "ssh-copy-id", "EDGEPACK_SSH_PASSWORD")


def test_a_host_key_that_is_unknown_until_it_is_accepted(
    bench: Bench, desk: Desk, account: Account, model: Path, tmp_path: Path
) -> None:
    desk.reach()
    account.known_hosts.unlink()
    with at_most(ALONE):
        ran = bench(model, "--device", "desk")
    ran.refused(4, "SHA256:", "--accept-new-host-key")
    assert not account.known_hosts.exists() and not (desk.folder / "files").exists()
    whole(bench(model, "--device", "desk", "--json", "--accept-new-host-key", *FEW))
    check_again(bench, desk, model, tmp_path)


def test_a_changed_host_key_is_never_accepted(bench: Bench, account: Account, model: Path) -> None:
    before = account.known_hosts.read_bytes()
    with account.server.other_host_keys(), at_most(ALONE):
        ran = bench(model, "--device", account.address(), "--accept-new-host-key")
    ran.refused(4, "has changed", "ssh-keygen -R")
    assert account.known_hosts.read_bytes() == before


def test_a_closed_port(bench: Bench, account: Account, model: Path) -> None:
    (port,) = free_ports(1)
    with at_most(ALONE):
        ran = bench(model, "--device", account.address(port))
    ran.refused(4, f"port {port} is closed", "enable SSH")


# While files are pushed

BIG = "ae_int8.tflite"
HALF = f"push 262144 {BIG}"
"""What is told when the first piece of a file has been sent."""


def test_a_connection_that_is_cut_during_a_push_costs_nothing(
    bench: Bench, desk: Desk, proxy: FaultProxy, models: Path, tmp_path: Path
) -> None:
    bench.when(HALF, proxy.drop, beside=False)
    whole(bench(models / BIG, "--device", "desk", "--json", *FEW))
    assert proxy.connections == 2 and desk.rests() == []
    assert history(tmp_path) == ["desk"]


def test_a_link_that_stays_cut_during_a_push(
    bench: Bench,
    desk: Desk,
    proxy: FaultProxy,
    models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shorten_the_lease(monkeypatch, tmp_path)

    def cut() -> None:
        proxy.refusing = True
        proxy.drop(reset=True)

    bench.when(HALF, cut, beside=False)
    with at_most(IMPATIENT.return_s + ALONE + 4):
        ran = bench(models / BIG, "--device", "desk", *FEW)
    ran.refused(4, "ended the connection", "hint")
    assert not list(desk.folder.rglob(BIG)), "a part has the name of the whole"
    proxy.refusing = False
    whole(bench(models / BIG, "--device", "desk", "--json", *FEW))
    (there,) = desk.folder.rglob(BIG)
    assert there.read_bytes() == (models / BIG).read_bytes() and desk.rests() == []


# While the model runs


def test_a_connection_that_is_killed(
    bench: Bench, desk: Desk, account: Account, model: Path, tmp_path: Path
) -> None:
    desk.reach()
    bench.when("bench 0", lambda: (desk.agent(), account.server.kill_sessions()))
    with at_most(ALONE + 4):
        ran = bench(model, "--device", "desk", *LONG)
    ran.refused(4, "dropped while", "was running", "still on")
    check_again(bench, desk, model, tmp_path)


def test_a_device_that_freezes(
    bench: Bench, desk: Desk, account: Account, model: Path, tmp_path: Path
) -> None:
    desk.reach()

    def freeze() -> None:
        desk.agent()
        with account.server.frozen():
            time.sleep(IMPATIENT.silence_s + 1.5)

    bench.when("bench 0", freeze)
    with at_most(IMPATIENT.silence_s + ALONE + 4):
        ran = bench(model, "--device", "desk", *LONG)
    ran.refused(4, "no answer for 2 s while", "was running", "still on")
    check_again(bench, desk, model, tmp_path)


def test_a_link_that_falls_silent_leaves_the_device_to_the_next_one(
    bench: Bench,
    desk: Desk,
    proxy: FaultProxy,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The device notices nothing, so it measures on, and then waits for its lease to run out."""
    shorten_the_lease(monkeypatch, tmp_path)

    def silence() -> None:
        desk.agent()
        proxy.stalled = True

    bench.when("bench 0", silence)
    with at_most(IMPATIENT.silence_s + IMPATIENT.login_s + IMPATIENT.return_s + ALONE):
        ran = bench(model, "--device", "desk", "--processes=1", "--seconds=12")
    ran.refused(4, "no answer for 2 s while", "was running", "still on")
    assert desk.agents("latency"), "it measures on"
    desk.reach(name="other-way")
    with at_most(30):
        whole(bench(model, "--device", "other-way", "--json", *FEW))
    waits = [now.note for now in bench.told if now.task == "wait for the device"]
    assert waits and "has had it for" in waits[0]
    assert desk.rests() == []


def shorten_the_lease(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    agent = shutil.copytree(litert.AGENT, tmp_path / "agent")
    source = (agent / "lock.py").read_text()
    assert f"LEASE_S = {lock.LEASE_S}\n" in source
    (agent / "lock.py").write_text(source.replace(f"LEASE_S = {lock.LEASE_S}", "LEASE_S = 5.0"))
    monkeypatch.setattr(litert, "AGENT", agent)


def test_an_agent_that_is_killed(bench: Bench, desk: Desk, model: Path, tmp_path: Path) -> None:
    desk.reach()
    bench.when("bench 0", lambda: kill(desk.agent(), signal.SIGKILL))
    with at_most(ALONE + 4):
        ran = bench(model, "--device", "desk", *LONG)
    ran.refused(4, "the latency process was killed on the device (SIGKILL)", "out of memory")
    check_again(bench, desk, model, tmp_path)


def test_an_agent_that_hangs_is_killed_in_time(
    bench: Bench, desk: Desk, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even its own alarm ends it."""
    desk.reach()
    monkeypatch.setattr(stand, "GRACE_S", 2.0)
    bench.when("bench 0", lambda: kill(desk.agent(), signal.SIGSTOP))
    with at_most(3 + 2 + IMPATIENT.kill_s + ALONE):
        ran = bench(model, "--device", "desk", "--timeout=3", *LONG)
    ran.refused(4, "had not ended", "in 5 s and was killed", "allow more time")
    check_again(bench, desk, model, tmp_path)


def test_a_run_that_takes_too_long_ends_itself(
    bench: Bench, desk: Desk, model: Path, tmp_path: Path
) -> None:
    desk.reach()
    with at_most(3 + ALONE):
        ran = bench(model, "--device", "desk", "--timeout=3", *LONG)
    ran.refused(4, "the latency process had not ended after 3 s", "--timeout")
    check_again(bench, desk, model, tmp_path)


def test_a_model_that_is_replaced(bench: Bench, desk: Desk, model: Path, tmp_path: Path) -> None:
    desk.reach()

    def replace() -> None:
        desk.agent()
        (there,) = desk.folder.rglob(model.name)
        other = there.with_name("other")
        other.write_bytes(model.read_bytes() + b"\0")
        other.replace(there)

    bench.when("bench 0", replace)
    words = ("--device", "desk", "--json", "--no-history", "--processes=1", "--seconds=2")
    (found,) = whole(bench(model, *words))
    assert found["verdict"]["state"] == "invalid"
    (finding,) = [f for f in found["verdict"]["findings"] if f["code"] == "model-replaced"]
    assert sha256_of(model)[:12] in finding["message"] and finding["hint"]
    check_again(bench, desk, model, tmp_path)


def test_a_bench_that_is_interrupted_leaves_the_device_free(
    bench: Bench, desk: Desk, model: Path, tmp_path: Path
) -> None:
    desk.reach()
    with at_most(30):
        process = start("bench", model, "--device", "desk", *LONG)
        desk.agent()
        process.send_signal(signal.SIGINT)
        ran = finish(process)
    assert ran.code == 130 and "Traceback" not in ran.err
    wait_until(lambda: not desk.agents(), 5)


# A disk that is full


@pytest.fixture
def small_disk(desk: Desk) -> Iterator[Path]:
    """A disk of 64 MiB in the place of edgepack's folder."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(desk.folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk here")
    desk.stock()
    yield desk.folder
    subprocess.run(["umount", "-l", desk.folder], check=True)


def test_a_disk_that_is_full_before_and_during_the_run(
    bench: Bench, desk: Desk, small_disk: Path, models: Path, tmp_path: Path
) -> None:
    desk.reach()
    bundle = make_bundle(tmp_path / "made", models / "dscnn_int8.tflite", (49, 10, 1))
    filler = small_disk / "filler"

    def fill() -> None:
        room = os.statvfs(small_disk)
        filler.write_bytes(bytes(room.f_bavail * room.f_frsize))

    fill()
    with at_most(ALONE):
        ran = bench(bundle, "--device", "desk", *FEW)
    ran.refused(4, "MB on the device, but only 0.0 MB are free", "make room")
    filler.unlink()
    bench.when("bench 1", fill, beside=False)
    (found,) = whole(bench(bundle, "--device", "desk", "--json", "--no-history", *FEW))
    (finding,) = [f for f in found["verdict"]["findings"] if f["code"] == "outputs-unchecked"]
    assert "No space left on device" in finding["message"] and finding["hint"]
    filler.unlink()
    assert not list(small_disk.glob("outputs*")), "half of the outputs"
    (found,) = whole(bench(bundle, "--device", "desk", "--json", *FEW))
    assert found["correctness"]["golden"]["samples"] == 8
    assert desk.rests() == []


# A board


@pytest.fixture
def pi(
    bench: Bench, virtual_pi: VirtualPi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> VirtualPi:
    """The board, which the user's SSH configuration calls `pi`."""
    know(virtual_pi, tmp_path, monkeypatch)
    return virtual_pi


def test_what_a_board_lacks_is_told_before_anything_is_sent(
    bench: Bench, edgepack: CommandLine, pi: VirtualPi, model: Path
) -> None:
    def refused(*words: str) -> None:
        bench(model, "--device", "pi", *FEW).refused(4, *words)
        assert not [now for now in bench.told if now.task == "push" and now.total > 1_000_000]

    with faults.hidden(pi, faults.PYTHON):
        refused("there is no Python 3 on PATH", "sudo apt install python3")
        shown = edgepack("devices", "pi")
        assert shown.code == 0 and "no-python: there is no Python 3 on PATH" in shown.out
        assert "nothing that would run" in shown.out
    with faults.old_python(pi):
        refused("python3 is Python 3.5.3, the agent needs 3.7 or newer", "newer")
    with faults.hidden(pi, faults.LIBSTDCXX):
        refused("libstdc++.so.6 cannot be loaded", "sudo apt install libstdc++6")
    with faults.full_disk(pi):
        refused("on the device, but only 0.0 MB are free", "make room", "--clean")
    Path("devices.toml").write_text('[elsewhere]\naddress = "pi"\nfolder = "/usr/lib/edgepack"\n')
    ran = bench(model, "--device", "elsewhere", *FEW)
    ran.refused(4, "Permission denied", "devices.toml")


def test_a_board_that_freezes_then_loses_its_cable_then_its_power(
    bench: Bench, pi: VirtualPi, model: Path, tmp_path: Path
) -> None:
    """In turns, so that each shows that the one before left nothing in the way of the next run."""
    cut: list[float] = []

    def freeze() -> None:
        time.sleep(AT_WORK_S)
        with faults.frozen(pi):
            time.sleep(SLOW.silence_s + 3)

    def unplug() -> None:
        time.sleep(AT_WORK_S)
        with faults.unplugged(pi):
            time.sleep(SLOW.silence_s + 3)

    def cut_power() -> None:
        time.sleep(AT_WORK_S)
        cut.append(time.monotonic())
        pi.stop()

    long = ("--processes=1", "--seconds=120")
    for fault in (freeze, unplug):
        bench.when("bench 0", fault)
        ran = bench(model, "--device", "pi", *long)
        ran.refused(4, "no answer for 8 s while", "was running", "still on")
    bench.when("bench 0", cut_power)
    try:
        ran = bench(model, "--device", "pi", *long)
        assert time.monotonic() - cut[0] < ALONE, "it is told at once"
    finally:
        pi.start(fresh=False)
    ran.refused(4, "dropped while", "was running", "still on")
    assert history(tmp_path) == []


def test_a_board_that_stays_hot_and_is_throttled_during_the_run(
    bench: Bench, pi: VirtualPi, model: Path
) -> None:
    """After the test before it this shows, too, that a board works again after a power cut."""
    bench.when("bench 0", lambda: pi.throttle(0x50005))
    with faults.hot(pi, 82.0), faults.throttled(pi, 0):
        (found,) = whole(bench(model, "--device", "pi", "--json", "--cool-wait=3", *FEW))
    waits = [now.note for now in bench.told if now.task == "cool down"]
    assert waits[0] == "82.0 degrees C, waits for 70"
    verdict = found["verdict"]
    assert {"too-hot", "throttled"} <= set(verdict["codes"]) and verdict["state"] == "invalid"
    assert all(finding["hint"] for finding in verdict["findings"])
