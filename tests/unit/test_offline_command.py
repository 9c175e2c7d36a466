"""`python -m service classify`: what it refuses, what it says, and its exit status."""

import json
from pathlib import Path

import pytest

from export.bundle import Bundle
from service.__main__ import main
from service.engines import loading
from tests.conftest import GOLDEN
from tests.unit.fakes import png


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALEXNET_ENGINE", "onnx-cpu")
    monkeypatch.setenv("ALEXNET_THREADS", "1")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two pictures, and in a folder one that is none."""
    root = tmp_path / "pictures"
    (root / "more").mkdir(parents=True)
    (root / "cat.jpg").write_bytes((GOLDEN / "cat.jpg").read_bytes())
    (root / "red.png").write_bytes(png(200))
    (root / "more" / "bad.png").write_bytes(b"text")
    return root


def classify(bundle: Bundle, *arguments: object) -> int:
    return main(["classify", "--model", str(bundle.directory), *map(str, arguments)])


def test_lines_of_json_go_to_the_standard_output_and_bad_files_to_the_end_of_the_other(
    tiny_bundle: Bundle, pictures: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert classify(tiny_bundle, pictures, "--top-k", 1) == 1
    printed, told = capfdbinary.readouterr()
    rows = [json.loads(line) for line in printed.splitlines()]
    assert [Path(row["filename"]).name for row in rows] == ["cat.jpg", "red.png", "bad.png"]
    assert [len(row.get("top", ())) for row in rows] == [1, 1, 0]
    first, summary, bad = told.decode().splitlines()
    assert first == f"onnx-cpu runs {tiny_bundle.name}:{tiny_bundle.version}"
    assert summary.startswith("3 files, 1 of them bad; ")
    assert bad.startswith(f"  {pictures / 'more' / 'bad.png'}: this is not a picture; send one of")


def test_a_table_of_good_files_alone_is_status_zero(
    tiny_bundle: Bundle, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.csv"
    assert classify(tiny_bundle, pictures / "cat.jpg", pictures / "red.png", "--out", out) == 0
    assert len(out.read_text().splitlines()) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"2 files, 0 of them bad in {out}" in captured.err


def test_the_first_engine_of_the_settings_computes_it(tiny_bundle: Bundle, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    classify(tiny_bundle, pictures / "red.png", "--out", out, "--top-k", len(tiny_bundle.classes))
    (row,) = (json.loads(line) for line in out.read_text().splitlines())
    from service.pictures.images import decode

    pixels = decode(png(200), size=tiny_bundle.size, channels=tiny_bundle.channels, max_pixels=100)
    expected = loading.load("onnx-cpu", tiny_bundle).run(pixels[None]).probabilities[0]
    for entry in row["top"]:
        assert entry["probability"] == pytest.approx(expected[entry["class_id"]], abs=2e-6)


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (["nothing"], "nothing does not exist"),
        ([".", "."], ". is named twice; name every file and folder once"),
        ([".", "--out", "out.txt"], "out.txt must end in one of: .parquet, .csv, .jsonl"),
        ([".", "--top-k", "0"], "--top-k must be from 1 to 10, not 0"),
        ([".", "--top-k", "11"], "--top-k must be from 1 to 10, not 11"),
        ([".", "--model", "nonsense"], "nonsense is neither a bundle's directory nor a model in the BentoML store"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str], arguments: list[str], refusal: str
) -> None:
    assert len(tiny_bundle.classes) == 10
    assert classify(tiny_bundle, *arguments) == 1
    assert capsys.readouterr().err == f"error: {refusal}\n"


def test_a_run_that_is_stopped_says_how_to_go_on(
    tiny_bundle: Bundle,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out.jsonl"
    monkeypatch.setattr("service.offline.tables.write", stop)
    assert classify(tiny_bundle, pictures, "--out", out) == 1
    kept = f"{out}.journal"
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error: stopped; what was done is in {kept}, and the same command goes on from there"
    )
    monkeypatch.undo()
    monkeypatch.setenv("ALEXNET_ENGINE", "onnx-cpu")
    assert classify(tiny_bundle, pictures, "--out", out, "--top-k", 1) == 1
    assert f"{kept} was begun by another run, with top_k 3 and not 1" in capsys.readouterr().err
    assert classify(tiny_bundle, pictures, "--out", out) == 1
    assert len(out.read_text().splitlines()) == 3
