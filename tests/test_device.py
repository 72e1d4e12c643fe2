"""Names of devices: devices.toml, addresses, and aliases of the SSH configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepack.device import Device, all_devices, check_folder, find_device
from edgepack.errors import InputError
from edgepack.ssh.address import Address, parse_address
from edgepack.ssh.config import aliases, is_alias


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without any configuration, in an empty project."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    (tmp_path / "config" / "edgepack").mkdir(parents=True)
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "home"


def project(text: str) -> None:
    Path("devices.toml").write_text(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("pi@raspberrypi.local", Address("raspberrypi.local", "pi")),
        ("pi@10.0.0.7:2222", Address("10.0.0.7", "pi", 2222)),
        ("pi@[fe80::1%eth0]:22", Address("fe80::1%eth0", "pi", 22)),
        ("[::1]", Address("::1")),
        ("first.last@board_1", Address("board_1", "first.last")),
        ("alias", Address("alias")),
    ],
)
def test_addresses_are_read_and_written(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no address"),
        ("pi@", "is no address"),
        ("pi@host:", "is no address"),
        ("pi@host:0", "names port 0"),
        ("pi@host:65536", "names port 65536"),
        ("pi@a b", "is no address"),
        ("-oProxyCommand=x@host", "is no address"),
        ("pi@fe80::1", "is no address"),
        ("pi@host/etc", "is no address"),
    ],
)
def test_what_is_no_address_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        parse_address(text)
    assert caught.value.hint


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(InputError) as caught:
        find_device("pi:secret@board")
    assert "secret" not in caught.value.message + caught.value.hint
    assert "EDGEPACK_SSH_PASSWORD" in caught.value.hint


def test_an_address_is_a_device_whose_target_is_not_known_yet() -> None:
    found = find_device("pi@board:2222")
    assert found == Device("pi@board:2222", "", "ssh", "pi@board:2222", ".edgepack")


def test_the_projects_list_goes_before_the_users(tmp_path: Path) -> None:
    project('[desk]\naddress = "pi@10.0.0.1:22"\ntarget = "rpi4"\nfolder = "/data/edgepack"\n')
    users = tmp_path / "config" / "edgepack" / "devices.toml"
    users.write_text('[desk]\naddress = "pi@other"\n[shelf]\naddress = "pi@10.0.0.2"\n')
    assert find_device("desk") == Device("desk", "rpi4", "ssh", "pi@10.0.0.1:22", "/data/edgepack")
    assert [device.name for device in all_devices()] == ["desk", "shelf"]


def test_all_of_no_devices_says_where_to_list_them() -> None:
    with pytest.raises(InputError, match=r"no device is listed in .*devices\.toml") as caught:
        all_devices()
    assert "address =" in caught.value.hint


def test_a_misspelt_name_says_what_is_known() -> None:
    project('[kitchen]\naddress = "pi@10.0.0.1"\n')
    with pytest.raises(InputError, match="no device 'kitchn'") as caught:
        find_device("kitchn")
    assert "did you mean 'kitchen'?" in caught.value.hint
    with pytest.raises(InputError) as caught:
        find_device("zzz")
    assert "known are: local, kitchen" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ('[a]\nadress = "pi@b"\n', "unknown key 'adress'", "did you mean 'address'"),
        ("[a]\naddress = 7\n", "address is 7", "text in quotes"),
        ('[a]\ntarget = "rpi4"\n', "is no address", "user@host"),
        ('[a]\naddress = "pi@b"\ntarget = "rpi44"\n', "no target 'rpi44'", "rpi4"),
        ('[a]\naddress = "pi@b"\ntransport = "shh"\n', "no transport 'shh'", "ssh"),
        ('[a]\naddress = "pi@b"\nfolder = "/"\n', "'/' cannot be", ".edgepack"),
        ('[all]\naddress = "pi@b"\n', "'all' is taken", "another name"),
        ('a = "pi@b"\n', "a is no device", "[a]"),
        ("[a\n", "is not TOML", "[NAME]"),
        ('[a]\naddress = "pi:secret@b"\n', "holds no password", "EDGEPACK_SSH_PASSWORD"),
    ],
)
def test_a_wrong_list_is_refused_with_its_place(text: str, words: str, hint: str) -> None:
    project(text)
    with pytest.raises(InputError) as caught:
        find_device("a")
    assert words in caught.value.message and hint in caught.value.hint
    assert "devices.toml" in caught.value.message and "secret" not in caught.value.message


@pytest.mark.parametrize("folder", ["", "/", ".", "./", "//", "..", "a/../..", "~", "-rf", "a\nb"])
def test_folders_that_hold_more_than_edgepacks_files_are_refused(folder: str) -> None:
    with pytest.raises(InputError, match="cannot be edgepack's folder"):
        check_folder(folder)


def test_aliases_come_from_the_configuration_and_what_it_includes(home: Path) -> None:
    (home / ".ssh" / "config.d").mkdir()
    (home / ".ssh" / "config.d" / "lab").write_text("Host bench shelf\n  User pi\n")
    config = "Include config.d/*\nHost = desk\nHost *.local !x\n User pi\nHost *\n Port 22\n"
    (home / ".ssh" / "config").write_text(config)
    assert aliases() == ["bench", "shelf", "desk"]
    assert find_device("shelf") == Device("shelf", "", "ssh", "shelf")
    assert is_alias("pi.local") and not is_alias("elsewhere")


def test_files_that_include_each_other_come_to_an_end(home: Path) -> None:
    (home / ".ssh" / "config").write_text("Host a\nInclude config\n")
    assert set(aliases()) == {"a"}
