"""What SSH needs of text: commands, routes, known hosts."""

from __future__ import annotations

import base64
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from edgepack.errors import DeviceError, InputError
from edgepack.ssh.host_key import Trust, check, preferred
from edgepack.ssh.known_hosts import Entry, HostKey, hash_of, read_entries, remember
from edgepack.ssh.program import command, returncode_of
from edgepack.ssh.route import Hop, find_route

SHELLS = [["sh"], ["bash"], ["dash"], ["zsh"], ["fish"], ["tcsh"], ["busybox", "sh"], ["ksh"]]
INSTALLED = [shell for shell in SHELLS if shutil.which(shell[0])]
WORDS = [
    *("a b", "line\nend", "x!y", "!!", "it's", '"', "\\", "\\\\'", "$HOME", "`id`", "$(id)"),
    *("%s", "", "*", "~", "#", "{a,b}", "-n", "\t", "ü", "日本", ";", "&", "|", ">x"),
]
KEY = HostKey("ssh-ed25519", b"\0\0\0\x0bssh-ed25519 one")
OTHER = HostKey("ssh-ed25519", b"\0\0\0\x0bssh-ed25519 two")
RSA = HostKey("ssh-rsa", b"\0\0\0\x07ssh-rsa three")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    return tmp_path


def line_of(host: str, key: HostKey, marker: str = "") -> str:
    return f"{marker}{host} {key.kind} {base64.b64encode(key.blob).decode()} comment\n"


# Commands


@pytest.mark.parametrize("shell", INSTALLED, ids=" ".join)
def test_every_login_shell_hands_over_the_same_words(shell: list[str]) -> None:
    program = [sys.executable, "-c", "import sys; print(sys.argv[1:]); sys.exit(7)", *WORDS]
    done = subprocess.run([*shell, "-c", command(program)], capture_output=True, check=False)
    start, _, rest = done.stdout.decode().partition("\n")
    assert rest.strip() == str(WORDS), done.stderr
    assert start.startswith("edgepack-starts ") and done.returncode == 7


@pytest.mark.parametrize("shell", INSTALLED, ids=" ".join)
def test_every_login_shell_tells_a_signal_by_its_exit_code(shell: list[str]) -> None:
    line = command(["sh", "-c", "kill -11 $$"])
    done = subprocess.run([*shell, "-c", line], capture_output=True, check=False)
    assert returncode_of(done.returncode) == -11


def test_a_zero_byte_cannot_be_an_argument() -> None:
    with pytest.raises(DeviceError, match="zero byte"):
        command(["cat", "a\0b"])


@pytest.mark.parametrize(
    ("status", "code"), [(0, 0), (1, 1), (127, 127), (128, 128), (129, -1), (137, -9), (255, 255)]
)
def test_exit_codes_of_signals(status: int, code: int) -> None:
    assert returncode_of(status) == code


# Routes


def configure(home: Path, text: str) -> None:
    (home / ".ssh" / "config").write_text(text)


def test_an_address_needs_no_configuration(home: Path) -> None:
    (hop,) = find_route("pi@board")
    assert (hop.host, hop.port, hop.user, hop.known_as) == ("board", 22, "pi", "board")
    assert hop.identity_files == tuple(
        home / ".ssh" / name for name in ("id_ed25519", "id_ecdsa", "id_rsa")
    )
    assert hop.user_known_hosts[0] == home / ".ssh" / "known_hosts"
    assert str(hop) == "pi@board:22"


def test_the_configuration_fills_in_what_the_address_leaves_out(home: Path) -> None:
    configure(
        home,
        "Host desk\n HostName Board.Example\n Port 2200\n User pi\n IdentityFile ~/k1\n"
        " IdentityFile /k2\n IdentitiesOnly yes\n UserKnownHostsFile ~/known\n"
        " HashKnownHosts yes\nHost *\n User nobody\n",
    )
    (hop,) = find_route("desk")
    assert (hop.host, hop.port, hop.user) == ("Board.Example", 2200, "pi")
    assert hop.known_as == "[board.example]:2200"
    assert hop.identity_files == (home / "k1", Path("/k2")) and hop.identities_only
    assert hop.user_known_hosts == (home / "known",) and hop.hash_known_hosts
    (other,) = find_route("root@desk:22")
    assert (other.user, other.port, other.known_as) == ("root", 22, "board.example")


def test_a_host_key_alias_replaces_host_and_port(home: Path) -> None:
    configure(home, "Host desk\n HostName 10.0.0.7\n Port 2200\n HostKeyAlias board\n")
    assert find_route("pi@desk")[0].known_as == "board"


def test_jumps_come_in_order_and_have_their_own_configuration(home: Path) -> None:
    configure(
        home,
        "Host desk\n ProxyJump gate,admin@wall:2222\n User pi\n"
        "Host gate\n HostName gate.example\n User joe\n ProxyJump street\n"
        "Host street\n User ann\nHost wall\n Port 9\n ProxyJump nowhere\n",
    )
    route = [str(hop) for hop in find_route("desk")]
    assert route == ["ann@street:22", "joe@gate.example:22", "admin@wall:2222", "pi@desk:22"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Host desk\n ProxyJump gate\nHost gate\n ProxyJump desk\n", "again and again"),
        ("Host desk\n ProxyCommand nc %h %p\n", "ProxyCommand"),
        ("Host desk\n Port many\n", "port 'many'"),
        ("Host desk\n ProxyJump a b\n", "is no address"),
        ("nonsense\n", "cannot be read"),
    ],
)
def test_what_cannot_be_followed_is_refused(home: Path, text: str, words: str) -> None:
    configure(home, text)
    with pytest.raises(InputError, match=words) as caught:
        find_route("pi@desk")
    assert caught.value.hint


def test_an_unset_jump_and_command_are_none(home: Path) -> None:
    configure(home, "Host desk\n ProxyJump none\n ProxyCommand none\n")
    assert len(find_route("pi@desk")) == 1


# Known hosts


@pytest.mark.parametrize(
    ("hosts", "host", "same"),
    [
        ("board", "board", True),
        ("Board,other", "board", True),
        ("[board]:2222", "[board]:2222", True),
        ("[board]:2222", "board", False),
        ("*.local", "pi.local", True),
        ("*.local,!pi.local", "pi.local", False),
        ("b?ard", "board", True),
        ("[b]oard", "board", False),
        (hash_of("board", b"salt" * 5), "board", True),
        (hash_of("board", b"salt" * 5), "bored", False),
        ("|1|broken", "board", False),
        ("|1|###|broken", "board", False),
    ],
)
def test_lines_name_hosts(hosts: str, host: str, same: bool) -> None:
    assert Entry(Path("x"), 1, hosts, KEY).names(host) is same


def test_lines_that_are_none_say_nothing(home: Path) -> None:
    path = home / "known"
    path.write_text(
        "# board ssh-ed25519 AAAA\n\nboard\nboard ssh-ed25519 ###\n"
        + line_of("board", OTHER, "@cert-authority ")
        + line_of("board", KEY)
        + line_of("board", RSA, "@revoked ")
    )
    found = read_entries([home / "missing", path], "board")
    assert [(entry.line, entry.key, entry.revoked) for entry in found] == [
        (6, KEY, False),
        (7, RSA, True),
    ]


@pytest.mark.parametrize("hashed", [False, True])
def test_openssh_finds_what_is_remembered(home: Path, hashed: bool) -> None:
    path = home / "new" / "known_hosts"
    remember(path, "[board]:2222", KEY, hashed=hashed)
    path.write_text(path.read_text().rstrip("\n"))
    remember(path, "other", OTHER, hashed=hashed)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for host in ("[board]:2222", "other"):
        command_line = ["ssh-keygen", "-F", host, "-f", str(path)]
        assert subprocess.run(command_line, capture_output=True, check=False).returncode == 0
        assert ("board" not in path.read_text()) is hashed
    assert [entry.key for entry in read_entries([path], "other")] == [OTHER]


def test_a_key_that_cannot_be_remembered_is_told(home: Path) -> None:
    (home / "known").mkdir()
    with pytest.raises(DeviceError, match="cannot be remembered") as caught:
        remember(home / "known", "board", KEY, hashed=False)
    assert "UserKnownHostsFile" in caught.value.hint


def hop(path: Path) -> Hop:
    return Hop("board", 22, "pi", "board", user_known_hosts=(path,))


def test_types_of_known_keys_are_asked_for_first() -> None:
    entries = [Entry(Path("x"), 1, "board", RSA), Entry(Path("x"), 2, "board", KEY, revoked=True)]
    asked = ("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256")
    assert preferred(entries, asked) == (*asked[2:], *asked[:2])
    assert preferred([], asked) == asked


@pytest.mark.parametrize("accept", [False, True])
@pytest.mark.parametrize(
    ("line", "words"),
    [
        (line_of("board", OTHER), "has changed: it is ssh-ed25519 SHA256:"),
        (line_of("board", RSA), "says ssh-rsa SHA256:"),
        (line_of("board", KEY, "@revoked "), "was revoked by line 2"),
    ],
)
def test_other_keys_are_refused_always(home: Path, line: str, words: str, accept: bool) -> None:
    path = home / "known"
    path.write_text("\n" + line)
    with pytest.raises(DeviceError, match=words) as caught:
        check(hop(path), KEY, read_entries([path], "board"), Trust(accept))
    assert "line 2" in caught.value.message and str(path) in caught.value.message
    assert path.read_text() == "\n" + line


def test_one_right_key_of_several_is_enough(home: Path) -> None:
    path = home / "known"
    path.write_text(line_of("board", OTHER) + line_of("board", KEY))
    check(hop(path), KEY, read_entries([path], "board"), Trust())
