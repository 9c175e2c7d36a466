"""The committed tables and pictures are what the committed figures give."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from training.ladders import page
from training.ladders.ladder import FORMAT_VERSION

RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))


def result(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def pixels(content: bytes) -> np.ndarray[Any, np.dtype[np.int16]]:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"), dtype=np.int16)


def test_every_table_and_picture_has_its_figures() -> None:
    folder = ROOT / "benchmarks" / "results"
    drawn = {path.stem for path in [*folder.glob("*.md"), *folder.glob("*.png")]}
    assert drawn == {path.stem for path in RESULTS}


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_committed_table_is_made_from_its_figures(path: Path) -> None:
    assert path.with_suffix(".md").read_text(encoding="utf-8") == page.table(result(path))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_committed_picture_is_made_from_its_figures(path: Path) -> None:
    committed, made = pixels(path.with_suffix(".png").read_bytes()), pixels(page.picture(result(path)))
    assert committed.shape == made.shape
    # Another FreeType shades the edges of letters otherwise; a point that moves by one pixel changes more than that.
    assert np.abs(committed - made).mean() < 0.5


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_committed_figures_say_where_they_come_from(path: Path) -> None:
    found = result(path)
    assert found["format"] == FORMAT_VERSION
    assert found["command"][:3] == ["python", "-m", "training"]
    for rung in (rung for rung in found["rungs"] if "history" in rung):
        # A rung that was tried before its ladder was committed has its whole recipe beside.
        assert len(rung["provenance"]["commit"].removesuffix("-dirty")) == 40
        assert {"python", "torch", "numpy"} <= rung["provenance"]["versions"].keys()
        assert len(rung["history"]) == sum(stage["epochs"] for stage in rung["recipe"]["stages"])
