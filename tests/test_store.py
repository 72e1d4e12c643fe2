"""The store trusts only what was finished, whatever happens to a build."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edgepack.errors import InputError
from edgepack.store import Store, cache_folder, key_of, source_digest


def test_a_result_is_found_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.get("a" * 64) is None
    made = store.put("a" * 64, {"model.bin": b"weights"}, {"seconds": 1.5})
    found = store.get("a" * 64)
    assert found
    assert not made.cached
    assert found.cached
    assert (found.folder / "model.bin").read_bytes() == b"weights"
    assert found.facts == {"seconds": 1.5}
    assert store.count() == 1


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "record", "facts"])
def test_a_damaged_result_is_not_trusted_and_is_made_again(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    folder = store.put("k", {"model.bin": b"weights"}, {"drop": 0.25}).folder
    file = folder / "model.bin"
    if damage == "flip":
        file.write_bytes(b"weighty")
    elif damage == "truncate":
        file.write_bytes(b"")
    elif damage == "remove":
        file.unlink()
    elif damage == "record":
        (folder / "result.json").write_text('{"files": {')
    else:
        record = (folder / "result.json").read_text()
        (folder / "result.json").write_text(record.replace('"drop": 0.25', '"drop": 0.01'))
    assert store.get("k") is None
    store.put("k", {"model.bin": b"again"}, {})
    found = store.get("k")
    assert found
    assert (found.folder / "model.bin").read_bytes() == b"again"


def test_files_are_copied_not_moved(tmp_path: Path) -> None:
    source = tmp_path / "big.bin"
    source.write_bytes(b"x" * 10_000)
    found = Store(tmp_path / "store").put("k", {"copy.bin": source}, {})
    assert (found.folder / "copy.bin").read_bytes() == source.read_bytes()


def test_a_full_disk_is_an_error_that_says_what_to_type(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    full = tmp_path / "store"
    store = Store(full)
    with pytest.raises(InputError) as caught, store._errors(), Path("/dev/full").open("wb") as file:
        file.write(b"x")
        file.flush()
    assert "cannot be written" in caught.value.message
    assert "--clean" in caught.value.hint
    assert store.get("k") is None


def test_a_kill_while_writing_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from edgepack.store import Store\n"
        "for i in range(1000000):\n"
        "    Store(Path(sys.argv[1])).put(f'k{i % 50}', {'a': b'x' * 300000, 'b': b'y' * i}, {})\n"
        "    print(i, flush=True)\n"
    )
    for pause_s in (0.05, 0.11, 0.17):
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE
        )
        assert child.stdout
        child.stdout.readline()
        time.sleep(pause_s)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    store = Store(tmp_path)
    folders = list((tmp_path / "results").iterdir())
    assert folders
    for folder in folders:
        assert store.get(folder.name), folder
    assert store.put("k0", {"a": b"after"}, {})


def test_two_builds_compute_a_key_once(tmp_path: Path) -> None:
    computed = []
    waited = threading.Event()

    def build() -> None:
        store = Store(tmp_path)
        with store.lock("k", waited.set):
            if store.get("k") is None:
                time.sleep(0.3)
                computed.append(1)
                store.put("k", {"a": b"x"}, {})

    threads = [threading.Thread(target=build) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert computed == [1]
    assert waited.is_set()


def test_checkpoints_outlive_a_failure_and_go_with_success(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(RuntimeError), store.checkpoints("k") as folder:
        (folder / "epoch").write_text("1")
        raise RuntimeError
    with store.checkpoints("k") as folder:
        assert (folder / "epoch").read_text() == "1"
    assert not folder.exists()


def test_clean_removes_everything(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put("k", {"a": b"x" * 1000}, {})
    assert store.size_bytes() > 1000
    store.clean()
    assert store.size_bytes() == store.count() == 0


def test_the_cache_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "edgepack"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder().parts[-2:] == (".cache", "edgepack")


def test_keys_depend_on_every_part() -> None:
    assert key_of(a=1, b=2) == key_of(b=2, a=1)
    assert len({key_of(a=1), key_of(a=2), key_of(b=1), key_of(a="1")}) == 4


def test_the_source_digest_follows_imports() -> None:
    assert source_digest("edgepack.steps.strip") != source_digest("edgepack.steps.convert")
    assert source_digest("edgepack.errors") == source_digest("edgepack.errors")


def test_the_source_digest_covers_the_tables_beside_the_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    digest = source_digest.__wrapped__
    before = digest("edgepack.micro.operators"), digest("edgepack.errors")
    monkeypatch.setattr("edgepack.store._tables", lambda folder: ())
    assert digest("edgepack.micro.operators") != before[0]
    assert digest("edgepack.errors") == before[1], "beside it is no table"
