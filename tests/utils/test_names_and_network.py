# Copyright 2026 The areal authors
# SPDX-License-Identifier: Apache-2.0
import getpass
import socket
import sys
from pathlib import Path

import pytest

from areal.utils import names, network
from areal.utils.dynamic_import import import_from_string
from areal.utils.errors import ConfigError


def test_log_dir_and_checkpoint_root_follow_the_layout_and_create_nothing(tmp_path: Path) -> None:
    user = getpass.getuser()
    assert names.log_dir(tmp_path, "exp", "t0") == tmp_path / "logs" / user / "exp" / "t0"
    assert names.checkpoint_root(tmp_path, "exp", "t0", "default") == tmp_path / "checkpoints" / user / "exp/t0/default"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad", ["", "..", "a/b"])
def test_log_dir_name_that_leaves_the_folder_raises(tmp_path: Path, bad: str) -> None:
    with pytest.raises(ValueError, match="experiment_name"):
        names.log_dir(tmp_path, bad, "t0")


def test_user_name_without_passwd_entry_is_the_uid(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_entry() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", no_entry)
    assert names.user_name().startswith("uid")


def test_find_free_ports_are_distinct_bindable_and_respect_exclusions() -> None:
    ports = network.find_free_ports(3, (20000, 20100), exclude_ports={20000, 20001})
    assert len(set(ports)) == 3 and all(20002 <= port <= 20100 for port in ports)
    for port in ports:
        with socket.socket() as server:
            server.bind(("", port))


def test_find_free_ports_range_too_small_raises() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        network.find_free_ports(3, (20000, 20001))


def test_is_port_free_while_someone_listens_is_false() -> None:
    with socket.socket() as server:
        server.bind(("", 0))
        server.listen()
        assert not network.is_port_free(server.getsockname()[1])


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [("127.0.0.1", 80, "127.0.0.1:80"), ("::1", 8000, "[::1]:8000"), ("node-3.local", 1, "node-3.local:1")],
)
def test_hostport_round_trips(host: str, port: int, text: str) -> None:
    assert network.format_hostport(host, port) == text
    assert network.split_hostport(text) == (host, port)


@pytest.mark.parametrize("bad", ["host", ":80", "host:", "host:99999", "host:-1", "::1:80", "h:８０x"])
def test_split_hostport_malformed_raises(bad: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        network.split_hostport(bad)


def test_gethostip_is_an_address_of_this_host() -> None:
    address = network.gethostip()
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as server:
        server.bind((address, 0))


def test_import_from_string_returns_the_object() -> None:
    assert import_from_string("pathlib.Path") is Path
    assert import_from_string("os.path:join") is sys.modules["os.path"].join


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("Path", "write the name with its module"),
        ("", "write the name with its module"),
        ("no_such_module_x.Y", "No module named 'no_such_module_x'"),
        ("pathlib.Nope", "has no attribute 'Nope'"),
    ],
)
def test_import_from_string_failure_names_path_and_reason(path: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        import_from_string(path)
    assert repr(path) in str(caught.value)
