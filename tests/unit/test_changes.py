"""Changes of pictures, held to exact arithmetic, and to doing the same each time."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from training.data import changes
from training.data.changes import CHANGES, Change


def pictures(count: int = 7, channels: int = 3, side: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, side, side, channels), generator=generator, dtype=torch.uint8)


def plain(value: int, side: int = 8) -> Tensor:
    """One picture of a single grey."""
    return torch.full((1, side, side, 3), value, dtype=torch.uint8)


EACH = pytest.mark.parametrize(
    ("change", "strength"),
    [pytest.param(c, strength, id=f"{c.name} {strength}") for c in CHANGES for strength in c.strengths],
)


@EACH
@pytest.mark.parametrize("channels", [1, 3])
def test_a_change_gives_other_pictures_of_the_same_kind_and_leaves_the_given_ones(
    change: Change, strength: float, channels: int
) -> None:
    given = pictures(channels=channels)
    found = change.apply(given, strength)
    assert (found.shape, found.dtype) == (given.shape, torch.uint8)
    assert not torch.equal(found, given)
    assert torch.equal(given, pictures(channels=channels))


@EACH
def test_a_change_does_the_same_each_time_and_in_whatever_parts(
    change: Change, strength: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = change.apply(pictures(), strength)
    assert torch.equal(change.apply(pictures(), strength), found)
    if change.apply is not changes.noise:  # whose numbers are drawn part by part
        monkeypatch.setattr(changes, "PART", 3)
        assert torch.equal(change.apply(pictures(), strength), found)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_a_stronger_change_moves_pictures_further(change: Change) -> None:
    given = pictures(20) // 4 + 96  # greys in the middle, so that nothing is cut off
    moved = [float((change.apply(given, s).float() - given.float()).abs().mean()) for s in change.strengths]
    assert 0 < moved[0] < moved[1] < moved[2]


def test_seven_changes_are_measured_at_three_strengths_each() -> None:
    assert len({change.name for change in CHANGES}) == len(CHANGES) == 7
    assert 20 in next(change.strengths for change in CHANGES if change.apply is changes.jpeg)
    assert all(len(change.strengths) == 3 for change in CHANGES)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_a_round_trip_through_pillow(channels: int) -> None:
    given = pictures(2, channels, side=16)
    file = io.BytesIO()
    Image.fromarray(given[1].numpy().squeeze()).save(file, "JPEG", quality=20)
    with Image.open(file) as picture:
        expected = np.asarray(picture).reshape(16, 16, channels)
    assert np.array_equal(changes.jpeg(given, 20)[1].numpy(), expected)


def test_noise_has_the_deviation_asked_for_and_no_mean() -> None:
    moved = changes.noise(plain(128, side=200), 20).double() - 128
    assert float(moved.mean()) == pytest.approx(0, abs=0.3)
    assert float(moved.std()) == pytest.approx(20, abs=0.3)


def test_noise_stops_at_black_and_white() -> None:
    found = changes.noise(torch.cat((plain(0), plain(255))), 1e9)
    assert set(found.unique().tolist()) == {0, 255}


def test_a_blurred_point_is_a_gaussian() -> None:
    point = plain(0, side=17)
    point[0, 8, 8] = 255
    weights = torch.exp(-0.5 * torch.arange(-4.0, 5.0, dtype=torch.float64) ** 2)
    weights /= weights.sum()
    expected = (255 * torch.outer(weights, weights)).round().to(torch.uint8)
    found = changes.blur(point, 1.0)
    assert torch.equal(found[0, 4:13, 4:13, 0], expected)
    assert int(found.sum()) == 3 * int(expected.sum())


@pytest.mark.parametrize("sigma", [0.5, 3.0])
def test_a_plain_picture_stays_plain_up_to_its_border_when_blurred(sigma: float) -> None:
    assert torch.equal(changes.blur(plain(77), sigma), plain(77))


def test_beyond_a_border_its_own_pixels_go_on_when_blurred() -> None:
    halves = plain(0, side=16)
    halves[0, :, 8:] = 255
    assert changes.blur(halves, 1.0)[0, 0, [0, 1, 14, 15], 0].tolist() == [0, 0, 255, 255]


def test_blurring_goes_down_as_far_as_across() -> None:
    given = pictures()
    assert torch.equal(changes.blur(given.transpose(1, 2), 0.75), changes.blur(given, 0.75).transpose(1, 2))


@pytest.mark.parametrize(("value", "shift", "expected"), [(100, 25, 125), (100, -75, 25), (240, 50, 255), (20, -25, 0)])
def test_brightness_adds_and_stops_at_black_and_white(value: int, shift: float, expected: int) -> None:
    assert torch.equal(changes.brightness(plain(value), shift), plain(expected))


@pytest.mark.parametrize(
    ("factor", "expected"), [(0.5, (75, 125)), (1.5, (25, 175)), (3.0, (0, 250)), (0.0, (100, 100))]
)
def test_contrast_moves_values_about_the_mean_of_their_picture(factor: float, expected: tuple[int, int]) -> None:
    halves = plain(50)
    halves[0, :4] = 150
    found = changes.contrast(torch.cat((plain(9), halves)), factor)
    assert torch.equal(found[:1], plain(9))
    assert found[1, 7].unique().tolist() == [expected[0]]
    assert found[1, 0].unique().tolist() == [expected[1]]


def test_contrast_keeps_the_mean_of_each_channel() -> None:
    red_and_blue = torch.zeros(1, 2, 1, 3, dtype=torch.uint8)
    red_and_blue[0, :, 0, 0] = torch.tensor([100, 140])
    red_and_blue[0, :, 0, 2] = torch.tensor([200, 200])
    assert changes.contrast(red_and_blue, 0.5)[0, :, 0].tolist() == [[110, 0, 200], [130, 0, 200]]
