"""A bundle is whole or not there, and any changed byte is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepack.bundle import MANIFEST, SCHEMA, Bundle, read_bundle, verify, write_bundle
from edgepack.errors import GateError, InputError

FACTS = {"schema": SCHEMA, "model": {"path": "model.tflite"}}


def make(folder: Path, content: bytes = b"model bytes") -> Bundle:
    return write_bundle(folder, {"model.tflite": content, "golden.npz": b"golden"}, FACTS)


def test_a_bundle_verifies(tmp_path: Path) -> None:
    bundle = make(tmp_path / "b")
    assert verify(bundle.path).manifest == bundle.manifest
    assert bundle.model.read_bytes() == b"model bytes"
    assert sorted(bundle.manifest["files"]) == ["golden.npz", "model.tflite"]


def test_every_changed_byte_is_found(tmp_path: Path) -> None:
    bundle = make(tmp_path / "b")
    for file in sorted(bundle.path.iterdir()):
        whole = file.read_bytes()
        for at in range(len(whole)):
            file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            with pytest.raises((GateError, InputError)):
                verify(bundle.path)
        file.write_bytes(whole)
    verify(bundle.path)


def test_added_and_missing_files_are_named(tmp_path: Path) -> None:
    bundle = make(tmp_path / "b")
    (bundle.path / "extra").write_text("x")
    (bundle.path / "golden.npz").unlink()
    with pytest.raises(GateError, match=r"golden.npz is missing; extra was added"):
        verify(bundle.path)


def test_an_earlier_bundle_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    make(tmp_path / "b", b"old")
    assert make(tmp_path / "b", b"new").model.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
    other = tmp_path / "photos"
    other.mkdir()
    (other / "cat.png").write_bytes(b"x")
    with pytest.raises(InputError, match="is no bundle"):
        make(other)
    assert (other / "cat.png").exists()


def test_an_unwritable_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="Not a directory"):
        make(tmp_path / "file" / "b")


def test_a_failed_write_leaves_the_earlier_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make(tmp_path / "b", b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edgepack.bundle._sync", full)
    with pytest.raises(InputError, match="No space left"):
        make(tmp_path / "b", b"new")
    assert verify(bundle.path).model.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize("text", ["", "{}", "[1]", "{", '{"schema": 99}'])
def test_what_is_no_bundle_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(InputError):
        read_bundle(tmp_path)
    with pytest.raises(InputError, match="no bundle"):
        read_bundle(tmp_path / "none")


def test_folders_of_other_programs_and_added_files_are_kept(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "src").mkdir(parents=True)
    (site / MANIFEST).write_text('{"schema": 1, "name": "a web site"}')
    with pytest.raises(InputError, match="no bundle"):
        make(site)
    bundle = make(tmp_path / "b")
    (bundle.path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds more"):
        make(bundle.path)
    assert (site / "src").is_dir()
    assert (bundle.path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "text",
    [
        '{"schema": 1, "model": {"path": "m"}, "files": [1]}',
        '{"schema": 1, "model": {"path": "m"}, "files": {"m": 1}}',
        '{"schema": 1, "model": {"path": "../m"}, "files": {"../m": {"sha256": ""}}}',
        '{"schema": 1, "model": {"path": "/m"}, "files": {}}',
        '{"schema": 1, "model": {"path": "c/../../m"}, "files": {"c/../../m": {"sha256": ""}}}',
        '{"schema": 1, "model": {"path": "c//m"}, "files": {"c//m": {"sha256": ""}}}',
        '{"schema": 1, "model": {"path": ""}, "files": {"": {"sha256": ""}}}',
        '{"schema": 1, "model": 3, "files": {}}',
    ],
)
def test_a_hostile_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(InputError):
        verify(tmp_path)


def test_a_link_is_no_file_of_a_bundle(tmp_path: Path) -> None:
    bundle = make(tmp_path / "b")
    bundle.model.rename(tmp_path / "elsewhere")
    bundle.model.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(GateError, match=r"model.tflite is missing"):
        verify(bundle.path)


def test_files_in_folders(tmp_path: Path) -> None:
    files = {"model.tflite": b"m", "c/src/model.cc": b"array", "c/README.md": b"read"}
    bundle = write_bundle(tmp_path / "b", files, FACTS)
    assert verify(bundle.path).manifest["files"].keys() == files.keys()
    assert write_bundle(tmp_path / "b", {"model.tflite": b"n"}, FACTS).model.read_bytes() == b"n"
    assert sorted(p.name for p in bundle.path.iterdir()) == [MANIFEST, "model.tflite"]


def test_what_is_added_or_linked_in_a_folder_of_a_bundle(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", {"model.tflite": b"m", "c/model.cc": b"array"}, FACTS)
    (bundle.path / "c" / "empty").mkdir()
    with pytest.raises(GateError, match="c/empty was added"):
        verify(bundle.path)
    with pytest.raises(InputError, match="holds more"):
        make(bundle.path)
    (bundle.path / "c" / "empty").rmdir()
    (bundle.path / "c").rename(tmp_path / "elsewhere")
    (bundle.path / "c").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(GateError, match="c was added"):
        verify(bundle.path)
