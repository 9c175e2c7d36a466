"""The pictures that a run leaves, as PNG bytes: curves, confusion matrix, reliability, grids of pictures."""

import io
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from PIL import Image, ImageDraw
from torch import Tensor

from training.calibration import Bin, Calibration, calibration_error
from training.reports.canvas import BLUE, GREY, canvas, png
from training.resume import Epoch

GRID = 36  # pictures
TILE = 96  # pixels at which a picture of a grid is shown
CAPTION = 28
PALE_BLUE, PALE_RED = "#7fb9d1", "#eab0a4"
# More classes cannot be read on a picture's edge.
MOST_CLASSES_NAMED = 60


def curves(history: Sequence[Epoch]) -> bytes:
    """Loss and accuracy over the epochs."""
    figure = canvas(9, 3.6)
    loss, share = figure.subplots(1, 2)
    epochs = [epoch["epoch"] for epoch in history]
    for part, colour in (("train", GREY), ("validation", BLUE)):
        loss.plot(epochs, [epoch[f"{part}_loss"] for epoch in history], "o-", color=colour, label=part, ms=3)
        values = [100 * epoch[f"{part}_accuracy"] for epoch in history]
        share.plot(epochs, values, "o-", color=colour, label=part, ms=3)
    for axes, title in ((loss, "loss"), (share, "accuracy in %")):
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    return png(figure)


def confusion(counts: Tensor, classes: Sequence[str]) -> bytes:
    """A confusion matrix int64 [K, K]: rows the true classes, columns the answers, shaded by the share of the row."""
    number = len(classes)
    side = min(max(4.0, 0.55 * number), 24.0)
    figure = canvas(side + 1.5, side + 0.5)
    axes = figure.subplots()
    shares = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    axes.set_xlabel("answered")
    axes.set_ylabel("true class")
    if number <= MOST_CLASSES_NAMED:
        axes.set_xticks(range(number), classes, rotation=60, ha="right", fontsize=8)
        axes.set_yticks(range(number), classes, fontsize=8)
        for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
            label.set_parse_math(False)  # a class may be called "$a_$"
        for row, column in counts.nonzero().tolist():
            colour = "white" if shares[row, column] > 0.5 else "black"
            count = str(int(counts[row, column]))
            axes.text(column, row, count, ha="center", va="center", fontsize=7, color=colour)
    return png(figure)


def reliability(found: Calibration) -> bytes:
    """Share of right answers by confidence before and after the temperature, over how many pictures have which."""
    figure = canvas(9, 5)
    axes = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=(3.4, 1), gridspec_kw={"wspace": 0.06})
    titles = ("as the network gives them", f"at temperature {found.temperature:.2f}")
    for column, (title, bins) in enumerate(zip(titles, (found.before, found.after), strict=True)):
        shares, counts = axes[:, column]
        shares.set_title(f"{title}: calibration error {calibration_error(bins):.2%}", loc="left", fontsize=10)
        _draw_bins(shares, counts, bins)
        counts.set_xlabel("confidence in %")
    axes[0, 0].set_ylabel("right answers in %")
    axes[1, 0].set_ylabel("pictures in %")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return png(figure)


def _draw_bins(shares: Axes, counts: Axes, bins: Sequence[Bin]) -> None:
    """Bars from 0 to the lesser of accuracy and confidence, and on them what one of the two has more."""
    width, total = 100 / len(bins), sum(entry.count for entry in bins)
    middles = [width * (number + 0.5) for number in range(len(bins))]
    lesser = [100 * min(entry.accuracy, entry.confidence) for entry in bins]
    more = [100 * max(entry.accuracy - entry.confidence, 0) for entry in bins]
    fewer = [100 * max(entry.confidence - entry.accuracy, 0) for entry in bins]
    shares.bar(middles, lesser, 0.92 * width, color=BLUE, label="right answers")
    shares.bar(middles, more, 0.92 * width, lesser, color=PALE_BLUE, label="more than the confidence says")
    shares.bar(middles, fewer, 0.92 * width, lesser, color=PALE_RED, label="fewer than it says")
    shares.plot([0, 100], [0, 100], "--", color="black", lw=0.8, label="perfectly calibrated")
    counts.bar(middles, [100 * entry.count / total for entry in bins], 0.92 * width, color=GREY)
    shares.set_ylim(0, 100)
    for axes in (shares, counts):
        axes.set_xlim(0, 100)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)


def mistakes(images: Tensor, labels: Tensor, probabilities: Tensor, classes: Sequence[str]) -> bytes:
    """The wrong answers given with the most confidence, worst first: uint8 images [N, H, W, C], each with its answer.

    Probabilities float32 [N, K]. Where there is no mistake, the picture is a line that says so.
    """
    confidence, answers = probabilities.max(dim=1)
    wrong = torch.nonzero(answers != labels).flatten()
    worst = wrong[confidence[wrong].argsort(descending=True)][:GRID]
    captions = []
    for true, answer, share in zip(labels[worst].tolist(), answers[worst].tolist(), confidence[worst], strict=True):
        captions.append(f"{classes[true][:14]}\n> {classes[answer][:10]} {float(share):.0%}")
    return grid(images[worst], captions, empty="no mistakes")


def grid(images: Tensor, captions: Sequence[str] | None = None, *, empty: str = "no pictures") -> bytes:
    """Pictures uint8 [N, H, W, C] beside each other, each over its caption."""
    columns = min(9, max(1, len(images)))
    rows = -(-len(images) // columns)
    height = TILE + (CAPTION if captions else 0)
    sheet = Image.new("RGB", (max(columns * TILE, 120), max(rows * height, 40)), "white")
    pen = ImageDraw.Draw(sheet)
    if not len(images):
        pen.text((8, 12), empty, fill="black")
    for number, pixels in enumerate(images.cpu().numpy()):
        left, top = TILE * (number % columns), height * (number // columns)
        picture = Image.fromarray(np.squeeze(pixels)).convert("RGB")
        sheet.paste(picture.resize((TILE - 4, TILE - 4), Image.Resampling.NEAREST), (left + 2, top + 2))
        if captions:
            pen.multiline_text((left + 3, top + TILE - 1), captions[number], fill="black", font_size=10, spacing=1)
    content = io.BytesIO()
    sheet.save(content, format="PNG")
    return content.getvalue()
