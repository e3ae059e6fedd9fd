import json

import pytest

from kakehashi_core.cli.contributed import command_label
from kakehashi_core.cli.function_command import documented_arguments

COMMANDS = """
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from kakehashi_core.specs import CommandSpec

def command(name, verb, function, **changes):
    return CommandSpec(
        name=name, api_version=1, factory=f"fake_functions:{function}",
        summary=f"summary of {name}", verb=verb, **changes,
    )

def speed(): return command("bench-speed", "bench", "speed", serves="xc")
def plain(): return command("bench-plain", "bench", "plain", position=1)
def greedy(): return command("bench-greedy", "bench", "greedy")
def second(): return command("bench-second", "bench", "speed", serves="xc")
def fit(): return command("train-fit", "train", "plain")
def draw(): return command("glass-draw", "glass", "draw")
def mine(): return command("list-mine", "list", "draw")
"""

FUNCTIONS = '''
from __future__ import annotations
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

def speed(
    functional: str,
    molecules: tuple[str, ...] = ("H2O",),
    *,
    basis: str = "def2-svp",
    repeat: int = 3,
    profile: bool = False,
    device: Literal["cpu", "cuda"] = "cpu",
    sizes: Sequence[int] | None = None,
    output: Path | None = None,
) -> None:
    """Time it.

    Args:
        functional: Name of the functional.
        molecules: Which ones, by their name
            in the set.
        basis: Basis set.

    Returns:
        nothing: At all.
    """
    print(json.dumps([functional, molecules, basis, repeat, profile, device, sizes, str(output)]))

def plain(*, fail: int = 0, needed: float):
    print(needed)
    return fail

def greedy(**anything):
    pass

def draw(file: str, *, size: int = 1):
    print("drew", file, size)
'''


@pytest.fixture
def commands(fake_site):
    def add(*names):
        entries = {name: f"fake_commands:{name.partition('-')[2]}" for name in names}
        modules = {"fake_commands": COMMANDS, "fake_functions": FUNCTIONS}
        fake_site.add("fake-commands", {"commands": entries}, modules)

    return add


def test_label_drops_the_verb():
    assert command_label("bench-scf", "bench") == "scf"
    assert command_label("scf", "bench") == "scf"
    assert command_label("bench-scf", "demo") == "bench-scf"


def test_without_a_name_the_commands_are_listed_but_not_imported(fake_site, commands, run_cli):
    commands("bench-speed", "bench-plain", "train-fit")
    (fake_site.path / "fake_functions.py").write_text("1 / 0")
    fake_site.add_functional("my-net")
    outcome = run_cli("bench")
    assert outcome.code == 0
    first, second = [line for line in outcome.stdout.splitlines() if "fake-commands" in line]
    assert first.split()[:3] == ["plain", "ok", "fake-commands"]  # position before label
    assert second.split()[:4] == ["speed", "ok", "fake-commands", "my-net"]


def test_options_come_from_the_signature(commands, run_cli):
    commands("bench-speed")
    outcome = run_cli("bench", "speed", "pbe")
    defaults = ["pbe", ["H2O"], "def2-svp", 3, False, "cpu", None, "None"]
    assert json.loads(outcome.stdout) == defaults
    words = "--molecules CO --molecules N2 --basis sto-3g --repeat 5 --profile --device cuda"
    outcome = run_cli("bench", "speed", "pbe", *words.split(), "--sizes", "4", "-o", "x/y")
    assert outcome.code == 0
    changed = ["pbe", ["CO", "N2"], "sto-3g", 5, True, "cuda", [4], "x/y"]
    assert json.loads(outcome.stdout) == changed


def test_help_of_a_command_comes_from_spec_and_docstring(commands, run_cli):
    commands("bench-speed")
    outcome = run_cli("bench", "speed", "--help")
    text = " ".join(outcome.stdout.split())
    assert outcome.code == 0
    assert "Usage: kakehashi bench speed" in text
    assert "summary of bench-speed" in text
    assert "Which ones, by their name in the set." in text
    assert "--repeat" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["speed", "pbe", "--repat", "5"], "--repeat"),
        (["speed", "pbe", "--repeat", "often"], "repeat"),
        (["speed", "pbe", "--device", "abacus"], "cuda"),
        (["speed"], "FUNCTIONAL"),
        (["plain"], "needed"),
    ],
)
def test_wrong_options_exit_with_two(commands, run_cli, words, message):
    commands("bench-speed", "bench-plain")
    outcome = run_cli("bench", *words)
    assert outcome.code == 2
    assert outcome.stdout == ""
    assert message.lower() in outcome.stderr.lower()


def test_returned_integer_is_the_exit_code(commands, run_cli):
    commands("bench-plain", "train-fit")
    assert run_cli("bench", "plain", "--needed", "1.5").code == 0
    outcome = run_cli("train", "fit", "--needed", "1.5", "--fail", "7")
    assert (outcome.code, outcome.stdout) == (7, "1.5\n")


def test_model_is_handed_to_the_command_that_serves_its_kind(fake_site, commands, run_cli):
    commands("bench-speed", "bench-plain")
    fake_site.add_functional("my-net")
    for name in ("my-net", "My_Net", "fake-my-net:my-net"):
        outcome = run_cli("bench", name, "--repeat", "2")
        assert outcome.code == 0
        assert json.loads(outcome.stdout)[:4] == [name, ["H2O"], "def2-svp", 2]


def test_unknown_name_lists_commands_and_models(fake_site, commands, run_cli):
    commands("bench-speed")
    fake_site.add_functional("my-net")
    outcome = run_cli("bench", "my-nte")
    assert outcome.code == 2
    assert "Did you mean 'my-net'" in outcome.stderr
    assert "speed" in outcome.stderr


def test_broken_model_is_refused_before_the_command_is_imported(fake_site, commands, run_cli):
    commands("bench-speed")
    (fake_site.path / "fake_functions.py").write_text("1 / 0")
    fake_site.add_functional("sick", spec="{}['x']")
    outcome = run_cli("bench", "sick")
    assert outcome.code == 1
    assert "'sick' of fake-sick 1.0" in outcome.stderr


def test_two_commands_for_one_model_ask_for_a_choice(fake_site, commands, run_cli):
    commands("bench-speed", "bench-second")
    fake_site.add_functional("my-net")
    outcome = run_cli("bench", "my-net")
    assert outcome.code == 1
    assert "'kakehashi bench speed my-net'" in outcome.stderr
    assert run_cli("bench", "speed", "my-net").code == 0


def test_broken_command_is_listed_and_refused(fake_site, run_cli):
    fake_site.add("fake-sick", {"commands": {"bench-sick": "absent_module:entry"}})
    assert "absent_module" in run_cli("bench").stdout
    outcome = run_cli("bench", "sick")
    assert outcome.code == 1
    assert "fake-sick 1.0" in outcome.stderr


def test_command_that_swallows_options_is_refused(commands, run_cli):
    commands("bench-greedy")
    outcome = run_cli("bench", "greedy")
    assert outcome.code == 1
    assert "anything" in outcome.stderr


def test_verb_without_commands_says_what_is_installed(fake_site, run_cli, monkeypatch):
    # Plugins installed beside may bring train commands of their own.
    monkeypatch.setattr("kakehashi_core.cli.contributed.contributed_commands", lambda verb: ())
    fake_site.add_functional("my-net")
    outcome = run_cli("train", "my-net")
    assert outcome.code == 1
    assert "no train command is installed" in outcome.stderr
    assert "fake-my-net 1.0" in outcome.stderr


def test_documented_arguments_reads_google_docstrings():
    text = (
        "Do it.\n\nArgs:\n    first (int): One\n        and more.\n    second: Two.\n\n"
        "Returns:\n    third: Not an argument."
    )
    assert documented_arguments(text) == {"first": "One and more.", "second": "Two."}
    assert documented_arguments("") == {}


def test_a_package_brings_a_verb_of_its_own(commands, run_cli):
    commands("glass-draw", "bench-speed")
    assert run_cli("glass", "draw", "x.xyz", "--size", "3").stdout == "drew x.xyz 3\n"
    assert "glass " in run_cli("--help").stdout
    assert "draw" in run_cli("glass").stdout
    assert "--size" in run_cli("glass", "draw", "--help").stdout
    unknown = run_cli("glas", "draw")
    assert unknown.code == 2
    assert "glas" in unknown.stderr


def test_a_verb_of_core_cannot_be_taken(commands, run_cli):
    commands("list-mine")
    text = " ".join(run_cli("doctor").stdout.split())
    assert "none of check, cite, info, list, new" in text
