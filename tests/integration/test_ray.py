"""`--ray`: a local Ray of two workers answers as one process does, also where one of them is killed."""

import importlib.util
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as arrow
import pytest
from pyarrow import parquet

from export.bundle import Bundle, Outputs
from service.__main__ import main
from service.offline import on_ray, runs
from service.offline.job import Job
from service.offline.journal import Row
from service.offline.on_ray import RayError, Workers
from service.settings import Settings
from tests.conftest import GOLDEN
from tests.unit.fakes import BUNDLE, BrokenEngine, ChannelEngine, png
from training.pixels import Pixels

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra 'ray' is not installed")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.* is deprecated:DeprecationWarning"),  # what Ray itself still sets
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of the files and processes that Ray keeps
]
BATCH = 4
FATAL = 50  # the red of the picture that kills the first worker that meets it


@contextmanager
def begun(notes: Path) -> Iterator[Job]:
    """A job whose engine notes its process, and kills that on one picture, but only once."""
    (notes / f"began-{os.getpid()}").touch()
    engine, died = ChannelEngine(), notes / "died"

    def run(images: Pixels) -> Outputs:
        if (images[:, 0, 0, 0] == FATAL).any() and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return engine.run(images)

    yield Job(BUNDLE, engine.name, run, top_k=3, batch=BATCH, threads=1, max_bytes=2000, max_pixels=100)


@pytest.fixture(scope="module", autouse=True)
def nothing_in_the_home_folder() -> Iterator[None]:
    """Ray would leave a token there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        yield


@pytest.fixture
def two_workers() -> Iterator[Workers]:
    """Of a Ray on this machine."""
    with on_ray.cluster("local", BUNDLE, Settings(workers=2), 3) as workers:
        yield workers


@pytest.fixture
def mixed(tmp_path: Path) -> list[Path]:
    """A folder of 99 pictures and one that is none, and a Parquet file of 10 more in groups of 3."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(100):
        (folder / f"{number:03d}.png").write_bytes(png(number) if number != 7 else b"text")
    table = arrow.table({"image": [png(200 + number) for number in range(10)]})
    parquet.write_table(table, tmp_path / "more.parquet", row_group_size=3)
    return [folder, tmp_path / "more.parquet"]


def rows(way: runs.Way, named: list[Path], done: frozenset[str] = frozenset()) -> list[Row]:
    return [row for some in way(named, done) for row in some]


def of_ray(workers: Workers, notes: Path) -> runs.Way:
    """The way of such workers, with the engine above."""
    notes.mkdir()
    mine = replace(workers, files=2 * BATCH, begin=partial(begun, notes))
    return partial(on_ray.there, workers=mine)


def in_process(notes: Path, named: list[Path]) -> list[Row]:
    notes.mkdir()
    (notes / "died").touch()
    with begun(notes) as job:
        return rows(partial(runs.here, job=job), named)


@needs_ray
def test_the_rows_and_their_order_are_those_of_one_process_though_a_worker_was_killed(
    two_workers: Workers, mixed: list[Path], tmp_path: Path
) -> None:
    assert two_workers.number == 2
    notes = tmp_path / "notes"
    found = rows(of_ray(two_workers, notes), mixed)
    assert found == in_process(tmp_path / "own", mixed)
    assert len(found) == 110
    assert (notes / "died").exists()
    assert len(list(notes.glob("began-*"))) >= 3


@needs_ray
def test_a_run_that_goes_on_leaves_out_what_is_done(two_workers: Workers, mixed: list[Path], tmp_path: Path) -> None:
    whole = in_process(tmp_path / "own", mixed)
    done = frozenset(row["filename"] for row in [*whole[:40], whole[101]])
    found = rows(of_ray(two_workers, tmp_path / "notes"), mixed, done)
    assert found == [row for row in whole if row["filename"] not in done]


@contextmanager
def broken() -> Iterator[Job]:
    """A job whose engine always fails."""
    yield Job(BUNDLE, "broken", BrokenEngine().run, top_k=3, batch=BATCH, threads=1, max_bytes=2000, max_pixels=100)


@needs_ray
def test_an_engine_that_fails_ends_the_run_with_its_reason(two_workers: Workers, mixed: list[Path]) -> None:
    with pytest.raises(RayError, match=r"the engine failed on the batch that begins with .*: no memory for"):
        rows(partial(on_ray.there, workers=replace(two_workers, files=BATCH, begin=broken)), mixed)


@needs_ray
def test_the_command_answers_as_it_does_without_ray(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ALEXNET_ENGINE", "onnx-cpu")
    monkeypatch.setenv("ALEXNET_WORKERS", "2")
    words = ["classify", "--model", str(tiny_bundle.directory), str(GOLDEN), "--out"]
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    assert main([*words, str(one)]) == 0
    assert main([*words, str(other), "--ray", "local"]) == 0
    assert "2 workers of Ray run" in capsys.readouterr().err
    expected, found = ([json.loads(line) for line in path.read_text().splitlines()] for path in (one, other))
    assert len(expected) >= 4
    for row, same in zip(found, expected, strict=True):
        assert (row["filename"], row["label"]) == (same["filename"], same["label"])
        assert row["probability"] == pytest.approx(same["probability"], abs=1e-5)


@pytest.mark.parametrize(
    ("resources", "settings", "number", "cpus", "gpus"),
    [
        ({"CPU": 2.0}, Settings(), 2, 1, 0.0),
        ({"CPU": 8.0}, Settings(workers=2), 2, 4, 0.0),
        ({"CPU": 64.0, "GPU": 4.0}, Settings(), 4, 1, 1.0),
        ({"CPU": 8.0, "GPU": 1.0}, Settings(workers=2), 2, 1, 0.5),
        ({"CPU": 8.0, "GPU": 4.0}, Settings(engine="onnx-cpu"), 8, 1, 0.0),
    ],
)
def test_there_is_a_worker_for_each_gpu_or_else_for_each_core(
    resources: dict[str, float], settings: Settings, number: int, cpus: int, gpus: float
) -> None:
    workers = on_ray.workers_of(resources, Path(), settings, 3)
    assert (workers.number, workers.cpus, workers.gpus) == (number, cpus, gpus)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_ray, "find_spec", lambda _: None)
    with pytest.raises(RayError, match="install the extra 'ray'"), on_ray.cluster("local", BUNDLE, Settings(), 3):
        pass


@needs_ray
@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"])
def test_where_there_is_no_ray_it_is_refused(address: str) -> None:
    told = f"there is no Ray at {address}"
    with pytest.raises(RayError, match=told), on_ray.cluster(address, BUNDLE, Settings(), 3):
        pass
