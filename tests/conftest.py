"""What all tests share: marks by folder, one tiny trained model, and a BentoML store of their own."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
SHIPPED = ROOT / "models" / "alexnet-cifar10"
LEVELS = ("unit", "integration", "e2e", "hardening")

# Never the user's own caches.
_cache = tempfile.TemporaryDirectory(prefix="cache-", ignore_cleanup_errors=True)
os.environ["XDG_CACHE_HOME"] = _cache.name
# Before anything imports bentoml, which reads these once: no tracking, and never the user's own model store.
_home = tempfile.TemporaryDirectory(prefix="bentoml-", ignore_cleanup_errors=True)
os.environ["BENTOML_HOME"] = _home.name
os.environ["BENTOML_DO_NOT_TRACK"] = "True"

import torch  # noqa: E402
from bentoml._internal.configuration.containers import BentoMLContainer  # noqa: E402
from bentoml._internal.models import ModelStore  # noqa: E402

from export import assemble  # noqa: E402
from export.bundle import Bundle  # noqa: E402
from training import recipes  # noqa: E402
from training.data import sources  # noqa: E402
from training.loop import Result, train  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test with the name of its folder, and skip what needs a GPU where there is none."""
    no_gpu = pytest.mark.skip(reason="no NVIDIA GPU here (torch.cuda.is_available() is False)")
    for item in items:
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        if folder in LEVELS:
            item.add_marker(folder)
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(no_gpu)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """`compact` after one epoch on synthetic pictures: the one trained model of the suite."""
    return train(
        recipes.named_recipe("compact").with_epochs(1),
        sources.load("synthetic", None),
        tmp_path_factory.mktemp("runs") / "tiny",
        on=torch.device("cpu"),
    )


@pytest.fixture(scope="session")
def tiny_bundle(tiny_run: Result, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny model's bundle. Tests that damage a bundle copy it first."""
    bundle, _ = assemble.export(tiny_run.path, tmp_path_factory.mktemp("bundles") / "tiny")
    return bundle


@pytest.fixture
def cat() -> bytes:
    """The bytes of a real photograph."""
    return (GOLDEN / "cat.jpg").read_bytes()


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[Path]:
    """The directory of an empty BentoML model store of this test's own."""
    directory = tmp_path / "home" / "models"
    directory.mkdir(parents=True)
    BentoMLContainer.model_store.set(ModelStore(directory))
    yield directory
    BentoMLContainer.model_store.reset()
