"""``edgepack bench`` over SSH: on bare virtual Raspberry Pis, and on several devices at once."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from benched import FEW, Bench, Desk, history, kill, know, make_bundle, whole
from lab.machine import VirtualPi
from lab.ports import free_ports
from tiny import CommandLine

IMAGES = ("resnet8_int8.tflite", (32, 32, 3))
SOUNDS = ("dscnn_int8.tflite", (49, 10, 1))


def checked(found: dict[str, Any]) -> None:
    """The board computes what this machine computes."""
    golden = found["correctness"]["golden"]
    assert (golden["state"] in ("exact", "close"), golden["samples"]) == (True, 8)
    assert found["measurements"][0]["environment"]["inputs"] == "golden"


def latency(found: dict[str, Any]) -> dict[str, Any]:
    measurement: dict[str, Any] = found["measurements"][0]
    assert measurement["metric"] == "latency"
    return measurement


def test_two_bundles_in_turns_on_a_64_bit_board_and_a_board_that_is_off(
    bench: Bench,
    virtual_pi: VirtualPi,
    models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    know(virtual_pi, tmp_path, monkeypatch)
    bundles = [
        make_bundle(tmp_path / name, models / file, shape)
        for name, (file, shape) in {"images": IMAGES, "sounds": SOUNDS}.items()
    ]
    (port,) = free_ports(1)
    Path("devices.toml").write_text(
        f'[desk]\naddress = "pi"\n\n[cellar]\naddress = "pi@127.0.0.1:{port}"\n'
    )
    few = ("--processes=2", "--seconds=0", "--runs=10")
    ran = bench(*bundles, "--device=all", "--evaluate=12", "--json", *few)

    ran.refused(4, "1 of 2 devices failed: cellar", "the results of the others are whole")
    assert f"cellar: 127.0.0.1 port {port} is closed" in ran.err
    images, sounds = found = ran.json["benchmarks"]
    assert history(tmp_path) == ["desk", "desk"]
    for benchmark in found:
        checked(benchmark)
        evaluation = benchmark["correctness"]["evaluation"]
        assert (evaluation["metric"], evaluation["samples"]) == ("accuracy", 12)
        assert evaluation["host"] == 1.0 and evaluation["device"] >= 11 / 12
        assert [len(values) for values in latency(benchmark)["values"]] == [10, 10]
        assert (benchmark["device"]["name"], benchmark["device"]["target"]) == ("desk", "rpi4")
        assert latency(benchmark)["environment"]["runtime"] == "ai-edge-litert"
        assert latency(benchmark)["environment"]["machine"] == "aarch64"
    assert images["model"]["sha256"] != sounds["model"]["sha256"]
    turns = [now.note.split()[-1] for now in bench.told if " latency of " in now.note]
    assert turns == ["images", "sounds", "sounds", "images"]


@pytest.mark.usefixtures("mirror")
def test_a_bundle_on_a_32_bit_board(
    bench: Bench,
    edgepack: CommandLine,
    virtual_pi_armhf: VirtualPi,
    models: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    know(virtual_pi_armhf, tmp_path, monkeypatch)
    bundle = make_bundle(tmp_path / "made", models / SOUNDS[0], SOUNDS[1])
    (found,) = whole(bench(bundle, "--device", "pi", "--json", *FEW))
    checked(found)
    environment = latency(found)["environment"]
    assert environment["runtime"] == "tflite-runtime"
    assert found["device"]["target"] == "linux-armv7"
    assert found["board"]["python"]["interpreters"][0]["architecture"] == "armv7l"
    kept = edgepack("history")
    assert kept.code == 0 and "pi" in kept.out and "made" in kept.out


def test_a_device_that_fails_costs_the_others_nothing(
    bench: Bench, desk: Desk, models: Path, tmp_path: Path
) -> None:
    """Of three side by side one is off, and on another the agent is killed."""
    (port,) = free_ports(1)
    other = Desk(desk.account, tmp_path / "other")
    other.folder.mkdir()
    other.stock()
    desk.reach(name="whole")
    other.reach(name="killed")
    desk.reach(port, name="off")
    bench.when("latency", lambda: kill(other.agent(), signal.SIGKILL))
    ran = bench(models / SOUNDS[0], "--device=all", "--json", "--processes=1", "--seconds=3")
    ran.refused(4, "2 of 3 devices failed: killed, off")
    assert "killed: the latency process was killed on the device" in ran.err
    assert f"off: 127.0.0.1 port {port} is closed" in ran.err
    (found,) = ran.json["benchmarks"]
    assert found["device"]["name"] == "whole" and len(latency(found)["values"][0]) >= 50
    assert history(tmp_path) == ["whole"]
    assert {now.task for now in bench.told} == {"whole", "killed"}
    assert desk.rests() == other.rests() == []
