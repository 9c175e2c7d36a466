"""The committed tables and pictures are what the committed figures give."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import chain
from benchmarks.serving import page as serving
from benchmarks.serving.record import FORMAT_VERSION as SERVING_VERSION
from tests.conftest import ROOT
from training.ladders import page
from training.ladders.ladder import FORMAT_VERSION

FOLDER = ROOT / "benchmarks" / "results"
RESULTS = sorted(FOLDER.glob("*.json"))
SERVERS = sorted((FOLDER / "serving").glob("*.json"))
PAGES: dict[Path, Any] = dict.fromkeys(RESULTS, page) | dict.fromkeys(SERVERS, serving)


def result(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def pixels(content: bytes) -> np.ndarray[Any, np.dtype[np.int16]]:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"), dtype=np.int16)


def test_every_table_and_picture_has_its_figures() -> None:
    drawn = {path.with_suffix(".json") for path in [*FOLDER.rglob("*.md"), *FOLDER.rglob("*.png")]}
    assert drawn == PAGES.keys()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_committed_table_is_made_from_its_figures(path: Path) -> None:
    assert path.with_suffix(".md").read_text(encoding="utf-8") == PAGES[path].table(result(path))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_committed_picture_is_made_from_its_figures(path: Path) -> None:
    committed, made = pixels(path.with_suffix(".png").read_bytes()), pixels(PAGES[path].picture(result(path)))
    assert committed.shape == made.shape
    # Another FreeType shades the edges of letters otherwise; a point that moves by one pixel changes more than that.
    assert np.abs(committed - made).mean() < 0.5


def test_the_picture_of_the_shipped_model_s_runs_is_made_from_their_epochs() -> None:
    committed, made = pixels(chain.PICTURE.read_bytes()), pixels(chain.picture())
    assert committed.shape == made.shape
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


@pytest.mark.parametrize("path", SERVERS, ids=lambda path: path.stem)
def test_committed_figures_of_servers_say_where_they_come_from(path: Path) -> None:
    found = result(path)
    assert found["format"] == SERVING_VERSION
    assert found["command"][:3] == ["python", "-m", "benchmarks.serving"]
    assert len(found["provenance"]["commit"]) == 40
    assert {"python", "bentoml", "litserve", "onnxruntime"} <= found["provenance"]["versions"].keys()
