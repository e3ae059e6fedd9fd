"""Model cards travel through checkpoint manifests unchanged."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kakehashi_core.checkpoints import read_manifest, save_checkpoint
from kakehashi_core.errors import CheckpointError, InvalidInputError
from kakehashi_core.model_card import ModelCard
from kakehashi_core.specs import Citation, Domain

CARD = ModelCard(
    name="nn-test",
    version="3",
    summary="a card for tests",
    training_data="two points",
    domain=Domain(elements=("H", "O"), xc="pbe"),
    units={"energy": "hartree"},
    limits=("fails for helium",),
    metrics={"held-out MAE, kcal/mol": 2.5},
    seed=4,
    script="training/train.py",
    weights_license="CC-BY-4.0",
    citation=Citation(text="Someone (2025)", doi="10.1/x"),
)


def test_round_trip_through_a_checkpoint(tmp_path: Path) -> None:
    """Oracle: the card itself, with the hash of the file filled in."""
    path = tmp_path / "x.safetensors"
    sha256 = save_checkpoint(path, {"a": torch.zeros(1)}, manifest=CARD.to_manifest())
    card = ModelCard.from_manifest(read_manifest(path))
    assert card == replace(CARD, sha256=sha256)


def test_renderings_hold_every_field() -> None:
    for text in (str(CARD), CARD.to_markdown()):
        for part in (
            "nn-test",
            "a card for tests",
            "H, O",
            "xc pbe",
            "energy: hartree",
            "2.5",
            "fails for helium",
            "CC-BY-4.0",
            "Someone (2025)",
            "10.1/x",
            "train.py",
        ):
            assert part in text
    assert CARD.to_markdown().startswith("## nn-test\n")
    assert "SHA-256" not in str(CARD), "empty fields are left out"


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({"license": "MIT"}, r"no 'model_card'; it has \['license'\]"),
        ({"model_card": {"name": "x"}}, "invalid model card"),
        ({"model_card": {**CARD.to_manifest()["model_card"], "typo": 1}}, "typo"),
        ({"model_card": {**CARD.to_manifest()["model_card"], "domain": 3}}, "invalid"),
        ({"model_card": {**CARD.to_manifest()["model_card"], "metrics": {"a": "b"}}}, "finite"),
    ],
)
def test_bad_cards_are_refused(manifest: dict[str, object], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        ModelCard.from_manifest(manifest)


def test_nonsense_is_refused_on_construction() -> None:
    with pytest.raises(InvalidInputError, match="'mae' of model card nn-test must be a finite"):
        replace(CARD, metrics={"mae": float("nan")})
    with pytest.raises(InvalidInputError, match="needs a name"):
        replace(CARD, name="")
