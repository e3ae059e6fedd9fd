"""The registry against distributions that are made up on the spot: good, broken, clashing."""

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kakehashi_core import registry
from kakehashi_core.errors import PluginLoadError, UnknownNameError
from kakehashi_core.registry import State
from kakehashi_core.specs import XCSpec

GOOD = """
    from kakehashi_core.specs import XCSpec

    def spec():
        return XCSpec(name="{name}", api_version={api}, family="LDA",
                      factory="{module}_model:make", summary="made up")

    constant = spec()
"""
MODEL = "def make(scale=1.0):\n    return ('model', scale)\n"
Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Return a function that installs a distribution with one plugin into a folder of its own."""
    modules = set(sys.modules)
    monkeypatch.delenv(registry.DISABLE_VARIABLE, raising=False)
    monkeypatch.delenv(registry.ALLOW_VARIABLE, raising=False)
    registry.clear_cache()

    def write(
        distribution: str,
        *,
        name: str = "made-up",
        entry: str | None = None,
        code: str = GOOD,
        api: int = 1,
        entry_points: str | None = None,
        folder: str | None = None,
        version: str = "1.2",
    ) -> Path:
        site = tmp_path / (folder or distribution)
        info = site / f"{distribution}-{version}.dist-info"
        info.mkdir(parents=True)
        module = distribution.lower().replace("-", "_").replace(".", "_")
        source = textwrap.dedent(code).format(name=name, api=api, module=module)
        (site / f"{module}.py").write_text(source)
        (site / f"{module}_model.py").write_text(
            "def make(scale=1.0):\n    return ('model', scale)\n"
        )
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        )
        lines = entry_points or f"[kakehashi.xc]\n{name} = {entry or module + ':spec'}\n"
        (info / "entry_points.txt").write_text(lines)
        monkeypatch.syspath_prepend(site)
        return info

    yield write
    registry.clear_cache()
    for module in set(sys.modules) - modules:
        if module.startswith(("fake", "other_fake")):
            del sys.modules[module]


def state_of(name: str, distribution: str) -> registry.Plugin:
    found = [p for p in registry.plugins("xc") if p.name == name and p.distribution == distribution]
    assert len(found) == 1
    return found[0]


def test_good_plugin_is_listed_found_and_loaded(install: Install) -> None:
    install("Fake_Good")
    assert "made-up" in registry.entry_names("xc")
    assert "fake_good" not in sys.modules, "names are listed without importing the plugin"
    plugin = registry.find("xc", "Made_Up")
    assert (plugin.distribution, plugin.version, plugin.state) == ("fake-good", "1.2", State.OK)
    assert isinstance(plugin.spec, XCSpec)
    assert "fake_good_model" not in sys.modules, "finding a plugin does not import its model"
    assert registry.load("xc", "made-up", scale=2.0) == ("model", 2.0)


def test_entry_point_may_be_the_spec_itself(install: Install) -> None:
    install("fake-constant", entry="fake_constant:constant")
    assert registry.find("xc", "made-up").state is State.OK


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import does_not_exist", "ModuleNotFoundError: No module named 'does_not_exist'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("x = (", "SyntaxError"),
        ("x = 1", "AttributeError: module 'fake_bad' has no attribute 'spec'"),
        ("def spec(): return 1 / 0", "ZeroDivisionError: division by zero"),
        ("spec = 7", "fake_bad:spec gives a int, not a XCSpec"),
        ("from kakehashi_core.specs import XCSpec as spec", "TypeError"),
        (
            GOOD.replace('"{name}"', '"another"'),
            "spec is named 'another', its entry point 'made-up'",
        ),
        (GOOD.replace("XCSpec(", "dict("), "gives a dict, not a XCSpec"),
    ],
)
def test_broken_plugin_is_a_state_and_others_work(install: Install, code: str, reason: str) -> None:
    install("fake-good", name="fine")
    install("fake-bad", code=code)
    broken = state_of("made-up", "fake-bad")
    assert broken.state is State.BROKEN
    assert reason in broken.reason
    assert registry.load("xc", "fine") == ("model", 1.0)
    with pytest.raises(PluginLoadError, match=r"'made-up' of fake-bad 1.2 .*is broken") as caught:
        registry.find("xc", "made-up")
    assert len(caught.value.args) == 1


def test_broken_plugin_keeps_its_traceback(install: Install) -> None:
    install("fake-bad", code="def helper():\n    raise RuntimeError('boom')\nhelper()")
    broken = state_of("made-up", "fake-bad")
    assert "in helper" in broken.traceback
    assert "RuntimeError: boom" in broken.traceback


def test_keyboard_interrupt_in_a_plugin_passes(install: Install) -> None:
    install("fake-bad", code="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        registry.plugins("xc")


@pytest.mark.parametrize(("api", "fix"), [(2, "upgrade kakehashi-core"), (0, "upgrade fake-old")])
def test_other_api_version_is_incompatible(install: Install, api: int, fix: str) -> None:
    install("fake-old", api=api)
    plugin = state_of("made-up", "fake-old")
    assert plugin.state is State.INCOMPATIBLE
    with pytest.raises(PluginLoadError, match=f"plugin API {api}, .* offers 1; {fix}"):
        registry.load_factory("xc", "made-up")


def test_conflict_lists_both_and_qualified_name_selects(install: Install) -> None:
    install("fake-one", name="same")
    install("fake-two", name="Same", code=GOOD.replace('"{name}"', '"same"'))
    assert state_of("same", "fake-one").state is State.CONFLICT
    assert state_of("same", "fake-two").state is State.CONFLICT
    with pytest.raises(PluginLoadError, match=r"'fake-one:same', 'fake-two:same'"):
        registry.find("xc", "same")
    assert registry.find("xc", "fake-two:same").distribution == "fake-two"
    assert registry.find("xc", "Fake_One:SAME").distribution == "fake-one"


def test_disabling_one_side_ends_a_conflict(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("fake-one", name="same")
    install("fake-two", name="same")
    monkeypatch.setenv(registry.DISABLE_VARIABLE, "fake_one")
    assert registry.find("xc", "same").distribution == "fake-two"
    assert state_of("same", "fake-one").state is State.DISABLED


def test_name_registered_twice_by_one_distribution(install: Install) -> None:
    text = "[kakehashi.xc]\nmade-up = fake_twice:spec\nmade_up = fake_twice:spec\n"
    install("fake-twice", entry_points=text)
    with pytest.raises(PluginLoadError, match="fake-twice registers the name 'made-up' 2 times"):
        registry.find("xc", "made-up")


def test_same_distribution_in_two_folders_first_wins(install: Install) -> None:
    install("Fake_Dist", folder="later", version="1.0")
    install("fake-dist", folder="earlier", version="2.0")  # prepended, so found first
    assert registry.find("xc", "made-up").version == "2.0"


def test_disabled_plugin_is_not_imported(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("fake-off", code="raise RuntimeError('must not be imported')")
    monkeypatch.setenv(registry.DISABLE_VARIABLE, "nothing, MADE_UP")
    assert state_of("made-up", "fake-off").state is State.DISABLED
    assert "made-up" not in registry.entry_names("xc")
    with pytest.raises(PluginLoadError, match=r"is disabled: .*KAKEHASHI_DISABLE"):
        registry.find("xc", "made-up")
    monkeypatch.delenv(registry.DISABLE_VARIABLE)
    assert state_of("made-up", "fake-off").state is State.BROKEN, "the variable is read every time"


@pytest.mark.parametrize("allowed", ["made-up", "fake-good", "fake-good:made-up"])
def test_allow_list(install: Install, monkeypatch: pytest.MonkeyPatch, allowed: str) -> None:
    install("fake-good")
    install("fake-other", name="other")
    monkeypatch.setenv(registry.ALLOW_VARIABLE, allowed)
    assert registry.entry_names("xc") == ("made-up",)
    with pytest.raises(PluginLoadError, match="KAKEHASHI_PLUGINS"):
        registry.find("xc", "other")
    monkeypatch.setenv(registry.ALLOW_VARIABLE, " ")
    assert {"made-up", "other"} <= set(registry.entry_names("xc"))


def test_unknown_names_are_answered_with_the_closest(install: Install) -> None:
    install("fake-good")
    with pytest.raises(
        UnknownNameError, match=r"unknown functional 'made-op'\. Did you mean 'made-up'"
    ):
        registry.find("xc", "made-op")
    with pytest.raises(UnknownNameError, match="fake-good:made-up"):
        registry.find("xc", "elsewhere:made-up")
    with pytest.raises(UnknownNameError, match="Did you mean 'calculators'"):
        registry.plugins("calculator")


def test_factory_that_fails_to_import_names_everything(install: Install) -> None:
    info = install("fake-half")
    (info.parent / "fake_half_model.py").write_text("import not_there\n")
    with pytest.raises(
        PluginLoadError,
        match=r"of fake-half 1\.2 \(entry point 'fake_half:spec'\).*not_there.*Reinstall",
    ) as caught:
        registry.load("xc", "made-up")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    (info.parent / "fake_half_model.py").write_text("make = 3.0\n")
    with pytest.raises(PluginLoadError, match="is a float, not a callable"):
        registry.load("xc", "made-up")


def test_errors_of_the_factory_pass_unchanged(install: Install) -> None:
    install("fake-good")
    with pytest.raises(TypeError, match="unexpected keyword argument 'typo'"):
        registry.load("xc", "made-up", typo=1)


MALFORMED = {
    "duplicate": b"[console_scripts]\na = b:c\na = d:e\n",
    "no_section": b"a = b:c\n",
    "bytes": b"[console_scripts]\n\xff\xfe\x00 = \xfa\n",
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_file_of_another_distribution_disturbs_nobody(
    install: Install, kind: str
) -> None:
    install("fake-good")
    guilty = install("other-fake", entry_points="[unrelated]\n") / "entry_points.txt"
    guilty.write_bytes(MALFORMED[kind])
    assert registry.load("xc", "made-up") == ("model", 1.0)
    report = registry.scan_report()
    assert report.backend == "importlib.metadata"
    assert report.fallback_reason
    assert [path for path, _ in report.guilty_files] == [str(guilty)]
    assert not report.clean


def test_fallback_gives_the_same_plugins(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: the other backend. Broken, spaced and good entries agree in every field."""
    install("fake-good")
    install("fake-bad", name="bad", code="import does_not_exist")
    install("fake-spaced", name="spaced", entry="fake_spaced : spec")
    first = registry.plugins()
    assert registry.scan_report().backend == "entrypoints"
    install("other-fake", entry_points="no section\n")
    second = registry.plugins()
    assert registry.scan_report().backend == "importlib.metadata"
    assert len(first) >= 3
    assert [(p.qualified_name, p.version, p.state, p.reason) for p in first] == [
        (p.qualified_name, p.version, p.state, p.reason) for p in second
    ]


def test_spaced_value_is_broken_and_reported(
    install: Install, recwarn: pytest.WarningsRecorder
) -> None:
    install("fake-spaced", entry="fake_spaced : spec")
    assert "without spaces" in state_of("made-up", "fake-spaced").reason
    report = registry.scan_report()
    line = "fake-spaced: [kakehashi.xc] made-up = fake_spaced : spec"
    assert report.unparsable == (line,)
    assert report.only_importlib == (line,)
    assert report.only_entrypoints == ()
    assert not recwarn.list, "entrypoints warns about such values; that stays inside"


def test_folder_names_with_dashes_are_told_apart(install: Install) -> None:
    """entrypoints itself splits "fake-one-1.2" at the first dash and would drop the second."""
    install("fake-one", name="one")
    install("fake-two", name="two")
    assert {p.distribution for p in registry.plugins("xc")} >= {"fake-one", "fake-two"}
    assert registry.find("xc", "two").version == "1.2"


def test_missing_metadata_is_seen_by_both_backends(install: Install) -> None:
    (install("fake-bare") / "METADATA").unlink()
    assert registry.find("xc", "made-up").version == "1.2"
    report = registry.scan_report()
    assert (report.only_entrypoints, report.only_importlib) == ((), ())


def test_cache_follows_the_path(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "made-up" not in registry.entry_names("xc")
    install("fake-good")
    assert "made-up" in registry.entry_names("xc")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if "fake-good" not in p])
    assert "made-up" not in registry.entry_names("xc")


def test_one_scan_reads_the_files_once(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("fake-good")
    registry.plugins()
    monkeypatch.setattr(registry, "from_entrypoints", lambda: pytest.fail("scanned again"))
    registry.plugins()
    registry.find("xc", "made-up")
    with pytest.raises(pytest.fail.Exception, match="scanned again"):
        registry.clear_cache() or registry.plugins()


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys; from kakehashi_core import registry; registry.plugins();"
        "heavy = {'torch', 'pyscf', 'ase', 'numpy', 'importlib.metadata'} & set(sys.modules);"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
