"""Sets of tiny pictures as files, DIR/train/CLASS/* and DIR/test/CLASS/*, each known by its red."""

from pathlib import Path

from PIL import Image

from training.data.dataset import Split

SIZE = 8


def save(path: Path, red: int, size: int = SIZE) -> Path:
    """A picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), (red, 0, 0)).save(path)
    return path


def cats_and_dogs(directory: Path) -> Path:
    """Train: cats 11 and 12, dogs 21 and 22. Test: cat 111, dog 121."""
    for part, numbers in (("train", (1, 2)), ("test", (101,))):
        for label, name in enumerate(("cat", "dog")):
            for number in numbers:
                save(directory / part / name / f"{number}.png", 10 + 10 * label + number)
    return directory


def reds(split: Split) -> list[int]:
    """Which pictures a split has, in its order."""
    numbers: list[int] = split.images[:, 0, 0, 0].tolist()
    return numbers
