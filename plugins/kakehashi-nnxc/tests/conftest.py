from __future__ import annotations

from pathlib import Path

import pytest

PUBLISHED_FOLDER = Path(__file__).parents[3] / ".." / "shared" / "data" / "nnxc"


@pytest.fixture
def published() -> Path:
    if not PUBLISHED_FOLDER.is_dir():
        pytest.skip(f"the published weight files are not in {PUBLISHED_FOLDER.resolve()}")
    return PUBLISHED_FOLDER
