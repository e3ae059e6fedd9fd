import pytest

SECTIONS = """
from kakehashi_core.specs import CommandSpec

def section(name, position):
    return CommandSpec(
        name=f"demo-{name}", api_version=1, factory=f"fake_sections:{name}",
        summary=f"summary of {name}", verb="demo", position=position,
    )

def last(): return section("last", 30)
def first(): return section("first", 10)
def failing(): return section("failing", 20)
def refusing(): return section("refusing", 21)
def leaving(): return section("leaving", 22)
"""

FUNCTIONS = """
from kakehashi_core.errors import ConvergenceError

def first(output):
    print("first runs")
    (output / "plot.png").write_bytes(b"png")

def last(output):
    print("last runs")
    (output / "inner").mkdir()
    (output / "inner" / "table.txt").write_text("table")

def failing(output): raise ValueError("no such molecule")
def refusing(output): raise ConvergenceError("did not converge")
def leaving(output): raise SystemExit(0)
"""


@pytest.fixture
def sections(fake_site):
    def add(*names):
        entries = {f"demo-{name}": f"fake_demo:{name}" for name in names}
        modules = {"fake_demo": SECTIONS, "fake_sections": FUNCTIONS}
        fake_site.add("fake-demo", {"commands": entries}, modules)

    return add


def test_sections_run_in_order_of_position_and_files_are_listed(sections, run_cli, tmp_path):
    sections("last", "first")
    output = tmp_path / "new" / "folder"
    outcome = run_cli("demo", "--output", str(output))
    assert outcome.code == 0
    assert outcome.stdout.index("first runs") < outcome.stdout.index("last runs")
    assert "== first: summary of first ==" in outcome.stdout
    assert f"files written to {output}: 2" in outcome.stdout
    assert "plot.png" in outcome.stdout
    assert "inner/table.txt" in outcome.stdout
    assert "2 of 2 sections succeeded in" in outcome.stdout


def test_default_folder_is_in_the_current_one(sections, run_cli, tmp_path, monkeypatch):
    sections("first")
    monkeypatch.chdir(tmp_path)
    assert run_cli("demo").code == 0
    assert (tmp_path / "kakehashi-demo" / "plot.png").read_bytes() == b"png"


def test_files_of_an_earlier_run_are_not_listed(sections, run_cli, tmp_path):
    sections("first")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old.txt").write_text("old")
    outcome = run_cli("demo", "--output", str(tmp_path / "out"))
    assert "files written to" in outcome.stdout
    assert "old.txt" not in outcome.stdout


def test_other_sections_run_after_failing_ones(sections, run_cli, tmp_path):
    sections("first", "failing", "refusing", "leaving", "last")
    outcome = run_cli("demo", "--output", str(tmp_path / "out"))
    assert outcome.code == 1
    assert "last runs" in outcome.stdout
    assert "2 of 5 sections succeeded" in outcome.stdout
    assert "failed: failing: ValueError: no such molecule" in outcome.stdout
    assert "failed: refusing: did not converge" in outcome.stdout
    assert "failed: leaving: SystemExit" in outcome.stdout
    assert "Traceback" in outcome.stderr  # of the ValueError, which nobody raised on purpose


def test_section_of_a_broken_plugin_fails_without_stopping_the_others(
    fake_site, sections, run_cli, tmp_path
):
    sections("first")
    fake_site.add("fake-sick", {"commands": {"demo-sick": "absent_module:entry"}})
    outcome = run_cli("demo", "--output", str(tmp_path / "out"))
    assert outcome.code == 1
    assert "first runs" in outcome.stdout
    assert "absent_module" in outcome.stderr


def test_named_sections_only(sections, run_cli, tmp_path):
    sections("first", "failing", "last")
    outcome = run_cli("demo", "LAST", "--output", str(tmp_path / "out"))
    assert outcome.code == 0
    assert "first runs" not in outcome.stdout
    assert "last runs" in outcome.stdout


def test_unknown_section_is_refused_before_anything_is_written(sections, run_cli, tmp_path):
    sections("first")
    outcome = run_cli("demo", "frist", "--output", str(tmp_path / "out"))
    assert outcome.code == 2
    assert "Did you mean 'first'" in outcome.stderr
    assert not (tmp_path / "out").exists()


def test_output_that_is_a_file_is_refused(sections, run_cli, tmp_path):
    sections("first")
    (tmp_path / "file").write_text("")
    outcome = run_cli("demo", "--output", str(tmp_path / "file"))
    assert outcome.code == 2
    assert "choose another with --output" in outcome.stderr
    assert "first runs" not in outcome.stdout


def test_no_section_installed(fake_site, run_cli, tmp_path):
    outcome = run_cli("demo", "--output", str(tmp_path / "out"))
    assert outcome.code == 1
    assert "no demonstration is installed" in outcome.stderr
    assert not (tmp_path / "out").exists()
