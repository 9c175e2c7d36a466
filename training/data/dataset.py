"""What every data set is: labelled pictures held whole as uint8 tensors, in two splits."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor


class DataError(Exception):
    """The pictures cannot be used; the message says which one, why, and what to do."""


@dataclass(frozen=True)
class Split:
    """Pictures uint8 [N, H, W, C] with labels int64 [N]."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> "Split":
        """The pictures at `indices`, in that order."""
        return Split(self.images[indices], self.labels[indices])

    def sha256(self) -> str:
        """Names this set of labelled pictures, in whatever order."""
        pairs = zip(self.images.contiguous().numpy(), self.labels.tolist(), strict=True)
        each = sorted(hashlib.sha256(image.data).digest() + label.to_bytes(4) for image, label in pairs)
        return hashlib.sha256(b"".join(each)).hexdigest()

    def to(self, device: torch.device) -> "Split":
        """The same pictures on `device`."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Dataset:
    """Pictures to train on, pictures to report on, and the names of the classes in label order."""

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    notes: tuple[str, ...] = ()  # what the user should know: files ignored or skipped

    @property
    def size(self) -> int:
        """Side of a picture in pixels."""
        return int(self.train.images.shape[1])

    @property
    def channels(self) -> int:
        """3 for colour, 1 for grey."""
        return int(self.train.images.shape[3])
