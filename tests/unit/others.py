"""Data sets that differ in one thing from the one that the runs of a second are fitted to."""

from dataclasses import replace

from tests.unit.runs import pictures
from training.data.dataset import Dataset


def brighter() -> Dataset:
    """Other pictures of the same classes, with other statistics."""
    whole = pictures()
    train = replace(whole.train, images=whole.train.images // 2 + 127)
    return replace(whole, name="brighter", train=train)


def renamed(dataset: Dataset) -> Dataset:
    """One class has another name."""
    return replace(dataset, classes=(*dataset.classes[:-1], "zebra"))


def smaller(dataset: Dataset) -> Dataset:
    """The same pictures, cut to 18x18."""
    train, test = (replace(part, images=part.images[:, :18, :18]) for part in (dataset.train, dataset.test))
    return replace(dataset, train=train, test=test)


def grey(dataset: Dataset) -> Dataset:
    """The same pictures, of one channel."""
    train, test = (replace(part, images=part.images[..., :1]) for part in (dataset.train, dataset.test))
    return replace(dataset, train=train, test=test)
