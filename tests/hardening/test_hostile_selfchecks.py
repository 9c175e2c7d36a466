"""A self-check with the right hash is still not taken at its word: no bomb, no pickle, no other number of classes."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from export import bundle, selfcheck
from export.bundle import SELFCHECK, Bundle, BundleError
from tests.unit.bundles import little, put, stored_check


@pytest.fixture
def pets(tmp_path: Path) -> Bundle:
    """A little bundle to be damaged."""
    return little(tmp_path / "pets")


def zip_bomb() -> bytes:
    """A few kilobytes that unfold to 64 megabytes of black pictures, and could to any number."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("images.npy", "w") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": (1 << 28, 2, 2, 1)}
        )
        for _ in range(1 << 6):
            file.write(bytes(1 << 20))
    return buffer.getvalue()


def object_array() -> bytes:
    """An array that only a pickle can hold."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, images=np.array([{}], dtype=object))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is no self-check"),
        (b"PK\x03\x04", "is no self-check"),
        (stored_check()[:-10], "is no self-check"),
        (stored_check().replace(b"\x93NUMPY", b"\x93NUMPX"), "is no self-check"),
        (zip_bomb(), r"is no self-check \(it is compressed\)"),
        (object_array(), r"is no self-check \(Object arrays cannot be loaded"),
        (stored_check(count=0), "are needed"),
        (stored_check(size=5), "are needed"),
        (stored_check(classes=4), "outputs for 3 classes are needed"),
    ],
)
def test_a_self_check_that_is_none_is_refused_although_its_hash_is_right(
    pets: Bundle, content: bytes, reason: str
) -> None:
    put(pets.directory, SELFCHECK, content)
    with pytest.raises(BundleError, match=rf"selfcheck\.npz {reason}|selfcheck\.npz has .*{reason}"):
        bundle.read(pets.directory)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_self_check_that_every_engine_would_fail_is_refused(pets: Bundle, value: float) -> None:
    outputs = np.zeros((1, 3), np.float32)
    black = np.zeros((1, 4, 4, 3), np.uint8)
    put(pets.directory, SELFCHECK, selfcheck.encode(black, outputs + np.float32(value), outputs))
    with pytest.raises(BundleError, match=r"selfcheck\.npz has outputs that are not finite"):
        bundle.read(pets.directory)
