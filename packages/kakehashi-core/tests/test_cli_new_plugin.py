"""``kakehashi new``: a copy of the template under another name."""

from __future__ import annotations

import tomllib

import pytest

from kakehashi_core.cli.new_plugin import run_new
from kakehashi_core.errors import InvalidInputError


def test_everything_carries_the_new_name(tmp_path, capsys):
    assert run_new("my-lda", folder=tmp_path) == 0
    target = tmp_path / "my-lda"
    files = [path for path in target.rglob("*") if path.is_file()]
    assert target / "src" / "my_lda" / "functional.py" in files
    for path in files:
        assert "template" not in path.name
        text = path.read_text(encoding="utf-8")
        assert "kakehashi-template" not in text
        assert "kakehashi_template" not in text
        if path.suffix == ".py":
            compile(text, str(path), "exec")
    project = tomllib.loads((target / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == "my-lda"
    points = project["entry-points"]["kakehashi.xc"]
    assert points == {"my-lda": "my_lda._entry_points:functional"}
    assert "kakehashi check my-lda" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["My-LDA", "my_lda", "-a", "a--b", "class", "../a", ""])
def test_names_that_do_not_do(tmp_path, name):
    with pytest.raises(InvalidInputError, match="does not do"):
        run_new(name, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(InvalidInputError, match="exists"):
        run_new("mine", folder=tmp_path)
