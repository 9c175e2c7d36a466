"""What the unit tests of training share."""

import pytest

from tests.unit.runs import quick_train
from training.loop import Result


@pytest.fixture(scope="session")
def quick_run(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Three epochs, never interrupted. Tests only read it."""
    return quick_train(tmp_path_factory.mktemp("runs") / "quick")
