import json
import sys
import types

import pytest

from kakehashi_core.cli import diagnosis


def findings_about(data, word):
    # The explanation of libxc's KeyError shows an installed name as its example.
    about = [f for f in data["findings"] if f["subject"] != "PySCF"]
    return [f for f in about if word in f["subject"] or word in f["message"]]


def test_healthy_environment_exits_with_zero(fake_site, run_cli):
    fake_site.add_functional("fine")
    outcome = run_cli("doctor")
    assert outcome.code == 0
    for expected in ("python", "torch build", "torch threads", "kakehashi-core", "fake-fine"):
        assert expected in outcome.stdout
    assert "entrypoints and importlib.metadata agree" in outcome.stdout
    assert "no problem found" in outcome.stdout


def test_json_is_pure_and_complete(fake_site, run_cli):
    """A factory that prints while it is imported must not end up between the JSON."""
    fake_site.add_functional("loud")
    (fake_site.path / "fake_loud_model.py").write_text("print('hello')\nclass Model: pass\n")
    outcome = run_cli("doctor", "--json")
    data = json.loads(outcome.stdout)
    assert set(data) == {"environment", "scan", "plugins", "findings", "healthy"}
    assert data["healthy"] is True
    assert data["environment"]["distributions"]["fake-loud"] == "1.0"
    assert data["environment"]["torch"]["threads"] >= 1
    assert data["environment"]["thread_pools"]
    assert "hello" in outcome.stderr


@pytest.mark.parametrize(
    ("spec", "cause", "fix"),
    [
        ("1 / 0", "ZeroDivisionError", "--force-reinstall fake-sick"),
        ("spec(api_version=99)", "API 99", "pip install --upgrade kakehashi-core fake-sick"),
        ("spec(factory='absent_module:Model')", "absent_module", "pip install absent_module"),
        ("spec(factory='json.absent:Model')", "json.absent", "--force-reinstall fake-sick"),
        ("spec(factory='json:absent')", "absent", "--force-reinstall fake-sick"),
    ],
)
def test_broken_plugin_has_cause_and_fix_and_exits_with_one(fake_site, run_cli, spec, cause, fix):
    fake_site.add_functional("sick", spec=spec)
    outcome = run_cli("doctor", "--json")
    [finding] = findings_about(json.loads(outcome.stdout), "sick")
    assert outcome.code == 1
    assert finding["severity"] == "problem"
    assert cause in finding["message"]
    assert fix in finding["fix"]


def test_conflict_is_a_problem_that_names_the_way_out(fake_site, run_cli):
    fake_site.add_functional("twice", distribution="fake-one")
    fake_site.add_functional("twice", distribution="fake-two")
    outcome = run_cli("doctor", "--json")
    fixes = [f["fix"] for f in findings_about(json.loads(outcome.stdout), "twice") if f["fix"]]
    assert outcome.code == 1
    assert any("ask for 'fake-two:twice'" in fix for fix in fixes)


def test_missing_extra_is_a_warning_that_names_it(fake_site, run_cli):
    """Somebody who did not ask for the extra has a healthy installation."""
    source = (
        "from kakehashi_core.specs import XCSpec\n"
        "spec = XCSpec(name='extra', api_version=1, factory='fake_extra_model:Model',\n"
        "              summary='s', family='LDA')\n"
    )
    fake_site.add(
        "fake-extra",
        {"xc": {"extra": "fake_extra:spec"}},
        {"fake_extra": source, "fake_extra_model": "import absent_package.inner\n"},
        metadata="Requires-Dist: absent-package>=1; extra == 'gpu'\nProvides-Extra: gpu\n",
    )
    outcome = run_cli("doctor", "--json")
    [finding] = findings_about(json.loads(outcome.stdout), "xc extra")
    assert outcome.code == 0
    assert finding["severity"] == "warning"
    assert finding["fix"] == "pip install 'fake-extra[gpu]'"


def test_tracebacks_are_shown_only_on_request(fake_site, run_cli):
    fake_site.add_functional("sick", spec="1 / 0")
    assert "Traceback" not in run_cli("doctor").stdout
    verbose = run_cli("doctor", "--verbose").stdout
    assert "| Traceback" in verbose
    assert "| ZeroDivisionError" in verbose


def test_malformed_file_of_a_foreign_package_is_named_and_forgiven(fake_site, run_cli):
    fake_site.add_functional("fine")
    file = fake_site.add_raw("foreign-package", "no section header\n")
    outcome = run_cli("doctor", "--json")
    data = json.loads(outcome.stdout)
    [finding] = findings_about(data, "foreign-package")
    assert outcome.code == 0
    assert data["scan"]["backend"] == "importlib.metadata"
    assert finding["severity"] == "warning"
    assert str(file) in finding["message"]
    assert "MissingSectionHeaderError" in finding["message"]
    assert {p["name"]: p["state"] for p in data["plugins"]}["fine"] == "ok"


def test_malformed_file_with_plugins_of_kakehashi_is_a_problem(fake_site, run_cli):
    fake_site.add_raw("fake-plugin", "stray line\n[kakehashi.xc]\nlost = m:a\n")
    outcome = run_cli("doctor", "--json")
    assert outcome.code == 1
    assert findings_about(json.loads(outcome.stdout), "fake-plugin")[0]["severity"] == "problem"


def test_disabled_plugin_is_a_note(fake_site, run_cli, monkeypatch):
    fake_site.add_functional("sick", spec="1 / 0")
    monkeypatch.setenv("KAKEHASHI_DISABLE", "sick")
    monkeypatch.setenv("KAKEHASHI_PLUGINS", "fake-sick")
    outcome = run_cli("doctor", "--json")
    [finding] = findings_about(json.loads(outcome.stdout), "sick")
    assert outcome.code == 0
    assert finding["severity"] == "note"


def test_unreadable_model_card_is_a_problem(fake_site, run_cli):
    fake_site.add_functional(
        "carded", spec="spec(factory='json:loads', checkpoint='x.safetensors')"
    )
    outcome = run_cli("doctor", "--json")
    [finding] = findings_about(json.loads(outcome.stdout), "xc carded")
    assert outcome.code == 1
    assert "no readable model card" in finding["message"]


def test_broken_torch_is_reported(fake_site, run_cli, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    outcome = run_cli("doctor")
    assert outcome.code == 1
    assert "problem: torch: cannot be imported" in outcome.stdout


def test_names_that_libxc_knows_and_message_of_pyscf(fake_site, run_cli, monkeypatch):
    """Oracle: a stand-in for libxc that knows one name only."""

    def parse_xc(name):
        if name.lower() != "my_pbe":
            raise KeyError(name)

    libxc = types.SimpleNamespace(parse_xc=parse_xc)
    monkeypatch.setattr(diagnosis, "find_spec", lambda name: name == "pyscf")
    monkeypatch.setattr(diagnosis, "import_module", lambda name: libxc)
    fake_site.add_functional("my-pbe")
    fake_site.add_functional("my-own")
    outcome = run_cli("doctor", "--json")
    data = json.loads(outcome.stdout)
    [shadowed] = [f for f in data["findings"] if "libxc has a functional" in f["message"]]
    assert (outcome.code, shadowed["subject"], shadowed["severity"]) == (0, "my-pbe", "warning")
    [note] = [f for f in data["findings"] if f["subject"] == "PySCF"]
    assert "not found" in note["message"]
    assert "kakehashi_pyscf.attach" in note["fix"]


def test_name_with_a_dispersion_suffix_is_a_problem(fake_site, run_cli):
    fake_site.add_functional("my-net-d4")
    outcome = run_cli("doctor", "--json")
    [finding] = [f for f in json.loads(outcome.stdout)["findings"] if f["subject"] == "my-net-d4"]
    assert outcome.code == 1
    assert "dispersion" in finding["message"]


def test_libxc_itself_knows_pbe_but_no_neural_name():
    """Oracle: PySCF's own parser."""
    pytest.importorskip("pyscf")
    assert diagnosis._known_to_libxc(["pbe", "nn-mgga"]) == ["pbe"]


def test_sections_of_packages_are_part_of_the_report(fake_site, run_cli):
    spec = """
from kakehashi_core.specs import CommandSpec
def section(): return CommandSpec(
    name="doctor-host", api_version=1, factory="fake_section:look", summary="host", verb="doctor")
"""
    look = 'def look(): return [{"severity": "note", "subject": "host", "message": "all is well"}]'
    modules = {"fake_doctor": spec, "fake_section": look}
    fake_site.add("fake-doctor", {"commands": {"doctor-host": "fake_doctor:section"}}, modules)
    outcome = run_cli("doctor")
    assert outcome.code == 0
    assert "note: host: all is well" in outcome.stdout


def test_a_section_that_fails_is_a_problem_and_ends_nothing(fake_site, run_cli):
    spec = """
from kakehashi_core.specs import CommandSpec
def section(): return CommandSpec(
    name="doctor-host", api_version=1, factory="fake_section:look", summary="host", verb="doctor")
"""
    modules = {"fake_doctor": spec, "fake_section": "def look(): 1 / 0"}
    fake_site.add("fake-doctor", {"commands": {"doctor-host": "fake_doctor:section"}}, modules)
    outcome = run_cli("doctor")
    assert outcome.code == 1
    assert "ZeroDivisionError" in outcome.stdout
    assert "pip install --upgrade fake-doctor" in outcome.stdout
