"""POST /classify and GET /model: what is accepted and what an answer holds."""

import os
from datetime import datetime, timedelta
from typing import Any

import httpx
import onnxruntime
import pytest

from tests.unit.fakes import BUNDLE, CLASSES, TELLING, ChannelEngine, ask, images, owner, png, serving_app


def classify(**options: Any) -> httpx.Response:
    return ask(serving_app(), "POST", "/classify", **options)


def test_one_picture_of_a_form_gets_one_prediction() -> None:
    answer = classify(files=images(png(64, 128, 32)), params={"top_k": 1})
    assert answer.status_code == 200
    assert answer.json() == {
        "model": {"name": BUNDLE.name, "version": BUNDLE.version},
        "engine": "channel-fake",
        "predictions": [
            {
                "filename": "0.png",
                "label": "green",
                "class_id": 1,
                "probability": 0.5,
                "top": [{"label": "green", "class_id": 1, "probability": 0.5}],
            }
        ],
    }


def test_many_pictures_are_answered_in_their_order() -> None:
    reds = [200, 3, 77, 3, 150, 0, 255]
    predictions = classify(files=images(*map(png, reds))).json()["predictions"]
    assert [owner(prediction) for prediction in predictions] == reds
    assert [prediction["filename"] for prediction in predictions] == [f"{number}.png" for number in range(7)]


@pytest.mark.parametrize(
    "content_type",
    [
        "image/jpeg",
        "image/png",
        "IMAGE/PNG",
        "image/png; charset=binary",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
        "",
        None,
    ],
)
def test_a_picture_may_be_the_body_whatever_type_a_client_gives_it(content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    (prediction,) = classify(content=png(42), headers=headers).json()["predictions"]
    assert owner(prediction) == 42
    assert prediction["filename"] is None


def test_a_raw_photograph_is_classified(cat: bytes) -> None:
    answer = classify(content=cat, headers={"content-type": "image/jpeg"})
    assert answer.status_code == 200
    assert answer.json()["predictions"][0]["label"] in CLASSES


def test_a_picture_that_comes_in_pieces_is_put_together() -> None:
    async def pieces() -> Any:
        for byte in png(42):
            yield bytes([byte])

    (prediction,) = classify(content=pieces(), headers={"content-type": "image/png"}).json()["predictions"]
    assert owner(prediction) == 42


def test_the_type_of_a_part_decides_nothing() -> None:
    part = ("images", ("a.txt", png(42), "text/plain"))
    assert owner(classify(files=[part]).json()["predictions"][0]) == 42


@pytest.mark.parametrize("name", ["katze äöü.png", "猫.jpg", "a b.png", "../../etc/passwd", "/etc/passwd"])
def test_a_file_name_is_given_back_as_it_was_sent(name: str) -> None:
    (prediction,) = classify(files=[("images", (name, png(1)))]).json()["predictions"]
    assert prediction["filename"] == name


def test_three_classes_are_given_unless_asked_otherwise() -> None:
    assert len(classify(content=png(1)).json()["predictions"][0]["top"]) == 3


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_top_k_sets_how_many_classes_are_given(top_k: int) -> None:
    predictions = classify(files=images(png(1), png(2)), params={"top_k": top_k}).json()["predictions"]
    assert [len(prediction["top"]) for prediction in predictions] == [top_k, top_k]


def test_a_form_may_say_how_many_classes_are_given() -> None:
    (prediction,) = classify(files=images(png(1)), data={"top_k": "2"}).json()["predictions"]
    assert len(prediction["top"]) == 2


def test_good_pictures_are_answered_beside_bad_ones() -> None:
    answer = classify(files=images(png(9), b"text", png(7)))
    assert answer.status_code == 200
    first, second, third = answer.json()["predictions"]
    assert (owner(first), owner(third)) == (9, 7)
    assert second.keys() == {"filename", "error"}
    assert second["filename"] == "1.png"


@pytest.mark.parametrize("place", [0, 17, 31])
def test_one_bad_picture_among_31_good_ones_takes_none_of_their_answers(place: int) -> None:
    contents = [png(red) for red in range(32)]
    contents[place] = png(1)[:45]
    predictions = classify(files=images(*contents)).json()["predictions"]
    assert predictions[place].keys() == {"filename", "error"}
    good = [red for red in range(32) if red != place]
    assert [owner(predictions[red]) for red in good] == good


def test_as_many_pictures_as_allowed_are_answered() -> None:
    app = serving_app(max_pictures=5)
    answer = ask(app, "POST", "/classify", files=images(*map(png, range(5))))
    assert [owner(prediction) for prediction in answer.json()["predictions"]] == list(range(5))


def test_one_request_is_one_call_of_the_engine() -> None:
    engine = ChannelEngine()
    ask(serving_app(engine), "POST", "/classify", files=images(*map(png, range(9))))
    assert engine.batches == [9]


def test_the_model_is_described_with_its_engine() -> None:
    answer = ask(serving_app(), "GET", "/model")
    assert answer.status_code == 200
    document = answer.json()
    serving = document.pop("serving")
    assert document == {
        **BUNDLE.document,
        "version": BUNDLE.version,
        "engine": {
            "name": "channel-fake",
            "device": "fake",
            "variant": "fp32",
            "passed_over": {"onnx-cuda": "there is no NVIDIA driver here"},
            "degraded": False,
            "failures": {"channel-fake": 0},
            "last_failure": None,
            "fallbacks": [],
            "no_fallback": "PyTorch is not installed",
        },
    }
    assert (serving["worker"], serving["pid"]) == ("1", os.getpid())
    assert (serving["max_batch"], serving["max_queue"]) == (64, 1024)
    assert serving["versions"]["onnxruntime"] == onnxruntime.__version__
    assert datetime.fromisoformat(serving["since"]).utcoffset() == timedelta(0)


def test_answers_tell_the_unknown_where_the_model_can() -> None:
    app = serving_app(bundle=TELLING)
    predictions = ask(app, "POST", "/classify", files=images(png(100), b"text", png(99))).json()["predictions"]
    assert [prediction.get("unknown") for prediction in predictions] == [False, None, True]
    assert predictions[1].keys() == {"filename", "error"}
    assert ask(app, "GET", "/model").json()["energy_threshold"] == -100


@pytest.mark.parametrize(("method", "path"), [("GET", "/model"), ("POST", "/classify")])
def test_answers_are_json(method: str, path: str) -> None:
    options = {"content": png(1)} if method == "POST" else {}
    assert ask(serving_app(), method, path, **options).headers["content-type"] == "application/json"
