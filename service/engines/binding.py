"""Inputs and outputs of ONNX Runtime in buffers that stay, page-locked where it runs on CUDA.

From and to such memory a GPU copies by itself; other memory goes through a buffer of the driver's first.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnxruntime

from export.bundle import Outputs
from training.pixels import Pixels

# An `onnxruntime.OrtValue` of a shape and a type, whose `numpy()` is its own memory.
Allocate: TypeAlias = Callable[[Sequence[int], type], Any]

logger = logging.getLogger("alexnet")


def pageable(shape: Sequence[int], kind: type) -> Any:
    """An OrtValue in ordinary memory."""
    return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, kind)


def pinned(shape: Sequence[int], kind: type) -> Any:
    """An OrtValue in page-locked memory of the process's first CUDA device. Raises RuntimeError where there is none."""
    # A worker sees its own device alone, as device 0.
    device_allocator, read_by_cpu = onnxruntime.OrtAllocatorType.ORT_DEVICE_ALLOCATOR, onnxruntime.OrtMemType.CPU_OUTPUT
    memory = onnxruntime.OrtMemoryInfo("CudaPinned", device_allocator, 0, read_by_cpu)
    return allocated(shape, kind, "CUDAExecutionProvider", memory)


def allocated(shape: Sequence[int], kind: type, provider: str, memory: Any) -> Any:
    """An OrtValue in some `onnxruntime.OrtMemoryInfo` of a provider. Raises RuntimeError."""
    try:
        value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, kind, memory_info=memory)
    except RuntimeError:  # nobody in this process has asked for such memory yet
        onnxruntime.create_and_register_allocator_v2(provider, memory, {}, onnxruntime.OrtArenaCfg({}))
        value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, kind, memory_info=memory)
    if not np.shares_memory(value.numpy(), value.numpy()):
        raise RuntimeError("this version of ONNX Runtime shows a copy of the memory in place of it")
    return value


def pinned_or_pageable() -> Allocate:
    """How to allocate next to CUDA; ordinary memory does as well, only more slowly, and why is logged."""
    try:
        pinned((1,), np.uint8)
    except Exception as error:  # CUDA and ONNX Runtime raise types of their own, none of them documented
        logger.warning("no page-locked memory beside onnx-cuda (%s: %s)", type(error).__name__, error)
        return pageable
    return pinned


@dataclass(frozen=True)
class _Buffers:
    """Of one size of batch: what the session reads and writes, and the same memory as arrays."""

    binding: Any
    images: Any
    pixels: Pixels
    outputs: Outputs


class Bound:
    """A session with buffers for every size of batch it has met, of which there should be few: see `warming`.

    `run` is for one thread at a time.
    """

    def __init__(self, session: Any, classes: int, allocate: Allocate) -> None:
        self._session, self._classes, self._allocate = session, classes, allocate
        self._buffers: dict[int, _Buffers] = {}

    def run(self, images: Pixels) -> Outputs:
        """Classify uint8 images [N, H, W, C]."""
        buffers = self._buffers.get(len(images))
        if buffers is None:
            buffers = self._buffers[len(images)] = self._bind(images.shape)
        buffers.pixels[:] = images
        # It is here that the input is copied to the device, and not when the session runs.
        buffers.binding.bind_ortvalue_input("images", buffers.images)
        buffers.binding.synchronize_inputs()
        self._session.run_with_iobinding(buffers.binding)
        buffers.binding.synchronize_outputs()
        # The next batch of this size is written over them.
        return Outputs(*(output.copy() for output in buffers.outputs))

    def _bind(self, shape: tuple[int, ...]) -> _Buffers:
        images = self._allocate(shape, np.uint8)
        outputs = {name: self._allocate((shape[0], self._classes), np.float32) for name in Outputs._fields}
        binding = self._session.io_binding()
        for name, value in outputs.items():
            binding.bind_ortvalue_output(name, value)
        return _Buffers(binding, images, images.numpy(), Outputs(*(value.numpy() for value in outputs.values())))
