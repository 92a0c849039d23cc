"""The SSH configuration of a user, and the host keys that the user trusts."""

from __future__ import annotations

import getpass
from pathlib import Path

import paramiko
import pytest

from foothold_lab.harness.model.errors import UsageError
from foothold_lab.harness.model.ssh_address import SshAddress
from foothold_lab.harness.transport.known_hosts import read_known_keys
from foothold_lab.harness.transport.ssh_settings import SshSettings, settings_for


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".ssh").mkdir()
    return tmp_path


def read(home: Path, address: str, config: str = "", system: str = "") -> SshSettings:
    (home / ".ssh/config").write_text(config)
    (home / "ssh_config").write_text(system)
    return settings_for(SshAddress.parse(address), home, home)


@pytest.mark.parametrize(
    ("text", "host", "user", "port"),
    [
        ("ssh:pi@board", "board", "pi", 0),
        ("ssh:pi@board:2222", "board", "pi", 2222),
        ("board", "board", "", 0),
        ("ssh:u0_a123@192.168.1.7:8022", "192.168.1.7", "u0_a123", 8022),
    ],
)
def test_reads_an_address(text: str, host: str, user: str, port: int) -> None:
    address = SshAddress.parse(text)
    assert address == SshAddress(host, user, port)
    assert SshAddress.parse(str(address)) == address
    assert address.ssh_command[-1] == (f"{user}@{host}" if user else host)


@pytest.mark.parametrize(
    "text",
    ["ssh:", "ssh:pi@", "ssh:@board", "ssh:pi@-oProxyCommand=x", "ssh:-l@board", "ssh:pi@a b",
     "ssh:pi@board:0", "ssh:pi@board:65536", "ssh:pi@board:x", "ssh:pi@board/x", "ssh:a;b",
     "ssh:pi@board\n", "ssh:" + "x" * 300],
)  # fmt: skip
def test_rejects_what_is_not_an_address(text: str) -> None:
    with pytest.raises(UsageError):
        SshAddress.parse(text)


def test_an_empty_configuration_has_the_usual_settings(home: Path) -> None:
    found = read(home, "ssh:board")
    assert (found.host, found.port, found.user) == ("board", 22, getpass.getuser())
    assert found.host_key_name == "board"
    assert found.known_hosts == (home / ".ssh/known_hosts", home / "ssh_known_hosts")
    names = [each.name for each in found.identities]
    assert names == ["id_ed25519", "id_ecdsa", "id_rsa"]
    assert (found.proxy_command, found.proxy_jumps, found.use_agent) == ((), (), True)


def test_an_address_takes_precedence_over_the_configuration(home: Path) -> None:
    config = "Host board\n  HostName 10.0.0.7\n  User wrong\n  Port 1\n"
    found = read(home, "ssh:pi@board:2222", config)
    assert (found.host, found.port, found.user) == ("10.0.0.7", 2222, "pi")
    assert found.host_key_name == "[10.0.0.7]:2222"
    found = read(home, "ssh:board", config)
    assert (found.port, found.user) == (1, "wrong")


def test_the_file_of_the_user_takes_precedence_over_that_of_the_system(home: Path) -> None:
    found = read(home, "ssh:board", "Host board\n User mine\n", "User theirs\nPort 7\n")
    assert (found.user, found.port) == ("mine", 7)


def test_included_files_stand_where_they_are_included(home: Path) -> None:
    (home / ".ssh/more").mkdir()
    (home / ".ssh/more/a").write_text("Host board\n  User first\n")
    (home / ".ssh/more/b").write_text("Host *\n  User second\n  Port 5\n")
    config = "Host other board\n  Include more/*\n  IdentityFile ~/.ssh/board\n"
    found = read(home, "ssh:board", config)
    assert (found.user, found.port) == ("first", 5)
    assert [each.name for each in found.identities] == ["board"]  # its block goes on
    assert [each.name for each in read(home, "ssh:third", config).identities] != ["board"]


def test_files_that_include_each_other_end(home: Path) -> None:
    assert read(home, "ssh:board", "Include config\nUser pi\n").user == "pi"


def test_runs_no_command_of_the_configuration(home: Path) -> None:
    config = f'Match host board exec "touch {home}/ran"\n  User wrong\nHost *\n  User right\n'
    assert read(home, "ssh:board", config).user == "right"
    assert not (home / "ran").exists()


def test_reads_the_way_to_a_machine(home: Path) -> None:
    jumps = read(home, "ssh:board", "Host board\n ProxyJump pi@a:22,b\n ProxyCommand never\n")
    assert jumps.proxy_jumps == (SshAddress("a", "pi", 22), SshAddress("b"))
    command = read(home, "ssh:pi@board:7", "ProxyCommand nc -x 'my proxy' %h %p\n")
    assert command.proxy_command == ("nc", "-x", "my proxy", "board", "7")
    assert read(home, "ssh:board", "ProxyCommand none\nProxyJump none\n").proxy_command == ()


def test_reads_where_host_keys_are(home: Path) -> None:
    found = read(home, "ssh:board:7", "HostKeyAlias name\nUserKnownHostsFile ~/keys /etc/keys\n")
    assert found.host_key_name == "name"
    assert found.known_hosts[:2] == (home / "keys", Path("/etc/keys"))


@pytest.mark.parametrize("config", ["Port many\n", "ProxyJump a b\n", "Host\n"])
def test_a_wrong_configuration_is_a_usage_error(home: Path, config: str) -> None:
    with pytest.raises(UsageError):
        read(home, "ssh:board", config)


def test_finds_the_keys_of_a_machine(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    hashed = paramiko.HostKeys.hash_host("[board]:7")
    file.write_text(
        "# a comment\n\n"
        f"{hashed} ssh-ed25519 HASHED comment\n"
        "[board]:7,other ssh-rsa NAMED\n"
        "board ssh-ed25519 PORT22\n"
        "*,!board ecdsa-sha2-nistp256 EXCLUDED\n"
        "[b*]:7 ssh-ed25519 PATTERN\n"
        "@revoked * ssh-ed25519 REVOKED\n"
        "@cert-authority * ssh-ed25519 AUTHORITY\n"
        "|1|damaged ssh-ed25519 DAMAGED\nshort line\n"
    )
    known = read_known_keys((tmp_path / "absent", file), "[board]:7")
    assert set(known.trusted) == {"HASHED", "NAMED", "EXCLUDED", "PATTERN"}
    assert known.trusted["NAMED"] == "ssh-rsa"
    assert known.revoked == {"REVOKED"}
    assert set(read_known_keys((file,), "board").trusted) == {"PORT22"}
    assert set(read_known_keys((file,), "third").trusted) == {"EXCLUDED"}
