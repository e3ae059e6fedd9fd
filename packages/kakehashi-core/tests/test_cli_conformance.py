import subprocess
import sys

import pytest

from kakehashi_core.cli import conformance


@pytest.fixture
def started(monkeypatch):
    """Commands that would have been started; each "process" exits with 3."""
    commands = []

    def run(command, *, check):
        commands.append(command)
        return subprocess.CompletedProcess(command, returncode=3)

    monkeypatch.setattr(conformance.subprocess, "run", run)
    monkeypatch.setattr(conformance, "find_spec", lambda name: object())
    return commands


def test_pytest_gets_name_and_arguments_and_gives_the_exit_code(fake_site, run_cli, started):
    fake_site.add_functional("my-net")
    outcome = run_cli("check", "my-net", "--", "-q", "-k", "limits")
    assert outcome.code == 3
    [command] = started
    assert command[0] == sys.executable
    assert " ".join(command[1:]) == (
        "-m pytest --pyargs kakehashi_testing.suite --kakehashi-plugin my-net -q -k limits"
    )


def test_death_by_a_signal_is_reported_as_shells_do(fake_site, run_cli, started, monkeypatch):
    fake_site.add_functional("my-net")
    killed = subprocess.CompletedProcess([], returncode=-9)
    monkeypatch.setattr(conformance.subprocess, "run", lambda command, check: killed)
    assert run_cli("check", "my-net").code == 137


def test_unknown_name_starts_nothing(fake_site, run_cli, started):
    fake_site.add_functional("my-net")
    outcome = run_cli("check", "my-nte")
    assert outcome.code == 2
    assert "Did you mean 'my-net'" in outcome.stderr
    assert started == []


def test_broken_plugin_starts_nothing(fake_site, run_cli, started):
    fake_site.add_functional("sick", spec="1 / 0")
    outcome = run_cli("check", "sick")
    assert outcome.code == 1
    assert "ZeroDivisionError" in outcome.stderr
    assert started == []


def test_missing_suite_says_how_to_install_it(fake_site, run_cli, started, monkeypatch):
    fake_site.add_functional("my-net")
    absent = {"kakehashi_testing"}
    monkeypatch.setattr(conformance, "find_spec", lambda name: None if name in absent else name)
    outcome = run_cli("check", "my-net")
    assert outcome.code == 1
    assert "pip install kakehashi-testing" in outcome.stderr
    assert started == []
