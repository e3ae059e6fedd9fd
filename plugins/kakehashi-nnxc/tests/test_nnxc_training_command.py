"""The command that trains: every option is heard or refused, before anything is computed."""

from __future__ import annotations

import pytest

from kakehashi_core.errors import InvalidInputError, UnknownNameError
from kakehashi_nnxc.training import command
from kakehashi_nnxc.training.command import train_xc


@pytest.fixture
def calls(monkeypatch):
    """What the two trainings were called with."""
    seen = []

    def fake(training):
        return lambda name, path, **options: seen.append((training, name, path.name, options))

    monkeypatch.setattr(command, "train_flagship", fake("flagship"))
    monkeypatch.setattr(command, "train_paper", fake("paper"))
    return seen


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("nn-mgga", {"workers": 4}, "--workers .* nn-mgga, got 4; .* kh-mgga and kh-nra"),
        ("nn-nra", {"strict": True}, "--strict .* nn-nra, got True; .* kh-mgga and kh-nra"),
        (
            "kh-mgga",
            {"mode": "metropolis"},
            "--mode .* kh-mgga, got metropolis; .* nn-lsda, nn-gga",
        ),
        ("nn-gga", {"mode": "metropolis", "rounds": 3}, "--rounds .* --mode metropolis, got 3"),
        ("kh-mgga", {"workers": 0}, "--workers must be at least 1, got 0"),
        ("nn-gga", {"rounds": 0}, "--rounds must be at least 1, got 0"),
        ("nn-gga", {"seed": -1}, "--seed must be at least 0, got -1"),
    ],
)
def test_options_that_would_change_nothing_are_refused(name, options, message, tmp_path, calls):
    """Oracle: the signatures of the trainings, which take no such option."""
    with pytest.raises(InvalidInputError, match=message):
        train_xc(name, data=tmp_path, **options)
    assert not calls
    assert not list(tmp_path.iterdir())


def test_options_arrive(tmp_path, calls):
    """Oracle: what was asked for."""
    common = {"data": tmp_path, "seed": 7}
    assert train_xc("KH_mGGA", workers=2, strict=True, rounds=3, **common) == 0
    assert train_xc("nn-nra", mode="metropolis", **common) == 0
    assert calls == [
        (
            "flagship",
            "kh-mgga",
            "kh-mgga.safetensors",
            {**common, "workers": 2, "strict": True, "rounds": 3},
        ),
        ("paper", "nn-nra", "nn-nra.safetensors", {**common, "mode": "metropolis", "rounds": 1}),
    ]


def test_a_weight_file_needs_its_ending(tmp_path, calls):
    """Otherwise hours of training would end in an error."""
    with pytest.raises(InvalidInputError, match=r"must end in \.safetensors, got .*mine\.pt"):
        train_xc("kh-mgga", output=tmp_path / "mine.pt", data=tmp_path)
    assert not calls


@pytest.mark.parametrize(
    ("name", "mode", "message"),
    [("nn-mga", "gradient", "'nn-mgga'"), ("nn-mgga", "metropoli", "'metropolis'")],
)
def test_unknown_names_are_answered_with_the_nearest(name, mode, message, tmp_path, calls):
    with pytest.raises(UnknownNameError, match=message):
        train_xc(name, data=tmp_path, mode=mode)
    assert not calls
