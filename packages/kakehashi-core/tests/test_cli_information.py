import json

import pytest
import torch

RICH_SPEC = """spec(
    citation=Citation(text="A. Author, 2024", doi="10.1/x", bibtex="@article{author2024}"),
    domain=Domain(elements=("H", "O"), note="gas phase"),
    units={"energy_density": "hartree/bohr^3"},
    devices=("cpu", "cuda"),
    weights_license="CC-BY-4.0",
    samples=("H2O",),
)"""


def test_info_shows_what_the_spec_says(fake_site, run_cli):
    fake_site.add_functional("fine", spec=RICH_SPEC)
    outcome = run_cli("info", "FINE")
    assert outcome.code == 0
    shown = dict(
        line.split("  ", 1) for line in outcome.stdout.splitlines() if "  " in line.strip()
    )
    shown = {label.strip(): text.strip() for label, text in shown.items()}
    assert shown["state"] == "ok"
    assert shown["distribution"] == "fake-fine 1.0"
    assert shown["domain"] == "elements: H, O"
    assert shown["units"] == "energy_density: hartree/bohr^3"
    assert shown["devices"] == "cpu, cuda"
    assert shown["family"] == "GGA"
    assert shown["citation"] == "A. Author, 2024 https://doi.org/10.1/x"
    assert shown["license of weights"] == "CC-BY-4.0"
    assert shown["samples"] == "H2O"


def test_info_as_json_holds_the_whole_spec(fake_site, run_cli):
    fake_site.add_functional("fine", spec=RICH_SPEC)
    [data] = json.loads(run_cli("info", "fine", "--json").stdout)
    assert data["state"] == "ok"
    assert data["spec"]["domain"]["elements"] == ["H", "O"]
    assert data["card"] is None


def test_one_name_in_two_kinds_shows_both(fake_site, run_cli):
    fake_site.add_functional("fine")
    source = (
        "from kakehashi_core.specs import CalculatorSpec\n"
        "spec = CalculatorSpec(name='fine', api_version=1, factory='a:b', summary='second')\n"
    )
    fake_site.add("fake-ase", {"calculators": {"fine": "fake_ase:spec"}}, {"fake_ase": source})
    data = json.loads(run_cli("info", "fine", "--json").stdout)
    assert {one["kind"] for one in data} == {"xc", "calculators"}


def test_qualified_name_settles_a_conflict(fake_site, run_cli):
    fake_site.add_functional("twice", distribution="fake-one")
    fake_site.add_functional("twice", distribution="fake-two")
    assert run_cli("info", "twice").code == 1
    outcome = run_cli("info", "fake_two:twice", "--json")
    [data] = json.loads(outcome.stdout)
    assert (outcome.code, data["state"], data["distribution"]) == (0, "ok", "fake-two")


def test_broken_plugin_is_described_and_exits_with_one(fake_site, run_cli):
    fake_site.add_functional("raising", spec="1 / 0")
    outcome = run_cli("info", "raising")
    assert outcome.code == 1
    assert "broken: ZeroDivisionError: division by zero" in outcome.stdout


@pytest.mark.parametrize("command", ["info", "cite"])
def test_unknown_name_exits_with_two_and_names_the_closest(fake_site, run_cli, command):
    fake_site.add_functional("nn-test")
    outcome = run_cli(command, "nn-tset")
    assert outcome.code == 2
    assert outcome.stdout == ""
    assert "Did you mean 'nn-test'" in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1


def test_model_card_is_read_from_the_package_without_the_factory(fake_site, run_cli):
    """The factory's module does not exist, so nothing but the manifest can give the card."""
    from kakehashi_core.checkpoints import save_checkpoint
    from kakehashi_core.model_card import ModelCard

    package = fake_site.path / "fake_package"
    (package / "weights").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    card = ModelCard(name="carded", version="7", summary="a card", training_data="three molecules")
    save_checkpoint(
        package / "weights" / "carded.safetensors",
        {"weight": torch.ones(2)},
        manifest=card.to_manifest(),
    )
    changes = "factory='fake_package.absent:Model', checkpoint='weights/carded.safetensors'"
    fake_site.add_functional("carded", spec=f"spec({changes})")
    outcome = run_cli("info", "carded")
    assert outcome.code == 0
    assert "model card: carded, a card" in outcome.stdout
    assert "three molecules" in outcome.stdout
    [data] = json.loads(run_cli("info", "carded", "--json").stdout)
    assert data["card"]["version"] == "7"


@pytest.mark.parametrize("checkpoint", ["absent.safetensors", "../absent.safetensors"])
def test_missing_model_card_is_a_warning(fake_site, run_cli, checkpoint):
    (fake_site.path / "fake_package").mkdir()
    (fake_site.path / "fake_package" / "__init__.py").write_text("")
    changes = f"factory='fake_package.absent:Model', checkpoint='{checkpoint}'"
    fake_site.add_functional("carded", spec=f"spec({changes})")
    outcome = run_cli("info", "carded")
    assert outcome.code == 0
    assert "warning: no model card for carded" in outcome.stderr
    assert "summary of carded" in outcome.stdout


def test_cite_prints_text_and_bibtex(fake_site, run_cli):
    fake_site.add_functional("fine", spec=RICH_SPEC)
    outcome = run_cli("cite", "fine")
    assert outcome.code == 0
    assert outcome.stdout.splitlines() == [
        "A. Author, 2024 https://doi.org/10.1/x",
        "",
        "@article{author2024}",
        "",
    ]
    [data] = json.loads(run_cli("cite", "fine", "--json").stdout)
    assert data == {"text": "A. Author, 2024", "doi": "10.1/x", "bibtex": "@article{author2024}"}


def test_cite_without_a_citation_exits_with_one(fake_site, run_cli):
    fake_site.add_functional("fine")
    outcome = run_cli("cite", "fine")
    assert outcome.code == 1
    assert "fake-fine states no citation" in outcome.stderr


def test_cite_a_name_in_conflict_lists_both(fake_site, run_cli):
    fake_site.add_functional("twice", distribution="fake-one")
    fake_site.add_functional("twice", distribution="fake-two")
    outcome = run_cli("cite", "twice")
    assert outcome.code == 1
    assert "fake-one:twice" in outcome.stderr
    assert "fake-two:twice" in outcome.stderr
