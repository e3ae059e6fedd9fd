import importlib.metadata

import pytest


def test_version(run_cli):
    """Oracle: the metadata of the installed distribution."""
    outcome = run_cli("--version")
    assert outcome.code == 0
    assert outcome.stdout == f"kakehashi-core {importlib.metadata.version('kakehashi-core')}\n"


def test_every_promised_subcommand_has_help(run_cli):
    """Oracle: the list of HOSTS section 8 for this version."""
    outcome = run_cli("--help")
    assert outcome.code == 0
    for command in ("list", "info", "doctor", "check", "cite", "demo", "bench", "train"):
        assert f"\n  {command} " in outcome.stdout
        assert run_cli(command, "--help").code == 0


def test_errors_are_one_line_unless_debugging(fake_site, run_cli, monkeypatch):
    plain = run_cli("info", "absent")
    assert plain.stderr.startswith("error: unknown plugin 'absent'")
    assert plain.stderr.count("\n") == 1
    flagged = run_cli("--debug", "info", "absent")
    monkeypatch.setenv("KAKEHASHI_DEBUG", "1")
    variable = run_cli("info", "absent")
    for outcome in (flagged, variable):
        assert outcome.code == plain.code == 2
        assert outcome.stderr.startswith("Traceback")
        assert "unknown plugin 'absent'" in outcome.stderr
    monkeypatch.setenv("KAKEHASHI_DEBUG", "0")
    assert run_cli("info", "absent").stderr == plain.stderr


@pytest.mark.parametrize("words", [["lits"], ["info"], ["info", "--jsno", "x"]])
def test_wrong_usage_exits_with_two(run_cli, words):
    outcome = run_cli(*words)
    assert outcome.code == 2
    assert outcome.stdout == ""
    assert outcome.stderr
