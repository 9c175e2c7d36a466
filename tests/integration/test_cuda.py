"""The line on an NVIDIA GPU; the engines' own CUDA tests are in tests/unit/test_engines.py."""

from pathlib import Path

import pytest
import torch

from export import assemble
from service.engines import choice
from training import recipes
from training.data import sources
from training.loop import train

pytestmark = pytest.mark.gpu


def test_a_run_on_cuda_learns_and_is_served_by_onnx_runtime_on_cuda(tmp_path: Path) -> None:
    recipe = recipes.named_recipe("compact").with_epochs(2)
    result = train(recipe, sources.load("synthetic", None), tmp_path / "run", on=torch.device("cuda"))
    assert result.metadata.accuracy["test"] >= 0.2
    bundle, _ = assemble.export(result.path, tmp_path / "bundle")
    assert choice.choose("auto", bundle).engine.name == "onnx-cuda"


def test_a_run_on_cuda_goes_on_where_it_stopped(tmp_path: Path) -> None:
    dataset, on = sources.load("synthetic", None), torch.device("cuda")
    recipe = recipes.named_recipe("compact").with_epochs(2)
    whole = train(recipe, dataset, tmp_path / "run", on=on)
    again = train(recipe, dataset, tmp_path / "run", on=on, go_on=True)
    assert again.metadata == whole.metadata
