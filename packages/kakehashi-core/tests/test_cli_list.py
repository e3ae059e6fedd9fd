import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kakehashi_core import registry

MODEL_KINDS = ("init_guess", "samplers", "calculators", "xc")
HEAVY = ("torch", "pyscf", "e3nn", "quspin", "torch_geometric", "ase", "numpy", "typer", "rich")

PROGRAM = "import sys; from kakehashi_core.cli import main; sys.exit(main())"

LISTING_PROCESS = """
import json, resource, sys
from kakehashi_core.cli import main
code = main({words!r})
usage = resource.getrusage(resource.RUSAGE_SELF)
seconds = usage.ru_utime + usage.ru_stime
json.dump({{"code": code, "modules": sorted(sys.modules), "seconds": seconds}}, sys.stderr)
"""


def add_every_state(fake_site):
    fake_site.add_functional("fine")
    fake_site.add_functional("raising", spec="1 / 0")
    fake_site.add_functional("future", spec="spec(api_version=99)")
    fake_site.add_functional("twice", distribution="fake-one")
    fake_site.add_functional("twice", distribution="fake-two")
    fake_site.add_functional("off")
    os.environ["KAKEHASHI_DISABLE"] += ",off"


def rows_of(outcome):
    plugins = [p for p in json.loads(outcome.stdout) if p["distribution"].startswith("fake-")]
    return {p["distribution"]: p for p in plugins}


def test_every_state_is_listed_with_its_reason_beside_working_plugins(fake_site, run_cli):
    """Oracle: the states of ARCHITECTURE section 2, one fake distribution each."""
    add_every_state(fake_site)
    rows = rows_of(run_cli("list", "--json"))
    assert {name: row["state"] for name, row in rows.items()} == {
        "fake-fine": "ok",
        "fake-raising": "broken",
        "fake-future": "incompatible",
        "fake-one": "conflict",
        "fake-two": "conflict",
        "fake-off": "disabled",
    }
    assert "ZeroDivisionError" in rows["fake-raising"]["reason"]
    assert "API 99" in rows["fake-future"]["reason"]
    assert "fake-two:twice" in rows["fake-one"]["reason"]
    assert "KAKEHASHI_DISABLE" in rows["fake-off"]["reason"]
    assert rows["fake-fine"]["reason"] == ""


def test_json_keys_are_stable(fake_site, run_cli):
    """Oracle: the list below is a promise to programs."""
    fake_site.add_functional("fine")
    assert rows_of(run_cli("list", "--json"))["fake-fine"] == {
        "name": "fine",
        "kind": "xc",
        "state": "ok",
        "distribution": "fake-fine",
        "version": "1.0",
        "summary": "summary of fine",
        "reason": "",
        "value": "fake_fine:entry",
    }


def test_table_off_a_terminal_has_one_line_per_plugin(fake_site, run_cli):
    add_every_state(fake_site)
    outcome = run_cli("list")
    assert outcome.code == 0
    header, *lines = outcome.stdout.splitlines()
    assert header.split() == ["name", "kind", "state", "distribution", "version", "summary"]
    [fine] = [line for line in lines if "fake-fine" in line]
    assert fine.split() == ["fine", "xc", "ok", "fake-fine", "1.0", "summary", "of", "fine"]
    [raising] = [line for line in lines if "fake-raising" in line]
    assert raising.endswith("ZeroDivisionError: division by zero")


def test_table_on_a_terminal_keeps_brackets_of_reasons(fake_site, run_cli, monkeypatch):
    """Rich would read "[extra]" as markup and drop it."""
    fake_site.add_functional("needy", spec='{}["fake-needy[extra]"]')
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    outcome = run_cli("list")
    assert "─" in outcome.stdout
    assert "fake-needy[extra]" in outcome.stdout


def test_commands_are_listed_only_when_asked_for(fake_site, run_cli):
    fake_site.add("fake-bench", {"commands": {"bench-fake": "missing_module:entry"}})
    assert "bench-fake" not in run_cli("list").stdout
    assert "bench-fake" in run_cli("list", "--kind", "commands").stdout


def test_kind_selects_and_accepts_a_dash(fake_site, run_cli):
    fake_site.add_functional("fine")
    assert "fine" in run_cli("list", "--kind", "xc").stdout
    assert "fine" not in run_cli("list", "--kind=init-guess").stdout


def test_unknown_kind_names_the_closest(run_cli):
    outcome = run_cli("list", "--kind", "sampler")
    assert outcome.code == 2
    assert "Did you mean 'samplers'" in outcome.stderr
    assert outcome.stdout == ""


def test_nothing_installed_says_so(fake_site, run_cli):
    kind = next((k for k in MODEL_KINDS if not registry.plugins(k)), None)
    if kind is None:
        pytest.skip("plugins of every kind are installed")
    outcome = run_cli("list", "--kind", kind)
    assert outcome.code == 0
    assert outcome.stdout == ""
    assert f"no plugin of kind '{kind}' is installed" in outcome.stderr


@pytest.mark.parametrize("words", [["list"], ["list", "--json"], ["list", "--kind", "xc"]])
def test_shortcut_agrees_with_the_full_command_line(fake_site, run_cli, words):
    """Oracle: the same words through typer, which the leading --debug forces."""
    add_every_state(fake_site)
    assert run_cli(*words).stdout == run_cli("--debug", *words).stdout != ""


@pytest.mark.parametrize("words", [["--kin", "xc"], ["--kind"], ["extra"], ["--kind", "--json"]])
def test_wrong_usage(run_cli, words):
    outcome = run_cli("list", *words)
    assert outcome.code == 2
    assert outcome.stdout == ""


def test_a_closed_pipe_is_no_error_message(fake_site):
    """Oracle: ``kakehashi list | head -0`` must be silent."""
    fake_site.add_functional("fine")
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, "list"],
        stdout=writer,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(fake_site.path)},
        text=True,
    )
    os.close(writer)
    assert process.stderr == ""
    assert process.returncode == 1


def test_locale_without_the_letter_still_gets_its_listing(fake_site):
    fake_site.add_functional("fine", spec="spec(summary='cutoff in Å')")
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, "list"],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(fake_site.path), "PYTHONIOENCODING": "ascii"},
        text=True,
    )
    assert process.returncode == 0
    assert "cutoff in \\xc5" in process.stdout


@pytest.mark.parametrize("words", [["list"], ["list", "--json"], ["list", "--kind", "xc"]])
def test_listing_imports_nothing_heavy(fake_site, words):
    """Oracle: ``sys.modules`` of a fresh process; the model's module would import torch."""
    fake_site.add_functional("fine")
    Path(fake_site.path, "fake_fine_model.py").write_text("import torch\nModel = torch.nn.Module\n")
    process = subprocess.run(
        [sys.executable, "-c", LISTING_PROCESS.format(words=words)],
        capture_output=True,
        env={**os.environ, "KAKEHASHI_DISABLE": "", "PYTHONPATH": str(fake_site.path)},
        text=True,
    )
    seen = json.loads(process.stderr)
    assert seen["code"] == 0
    assert "summary of fine" in process.stdout
    assert not {name.partition(".")[0] for name in seen["modules"]} & set(HEAVY)
    sys.stdout.write(f"CPU time of {' '.join(words)}: {seen['seconds']:.3f} s\n")
