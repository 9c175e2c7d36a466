"""Which device trains, and what it is good at."""

import contextlib

import torch


def choose_device(name: str) -> torch.device:
    """`auto` takes CUDA, then Apple's MPS, then the CPU. Raises ValueError where a named device is not there."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    if name not in available:
        raise ValueError(f"unknown device {name!r}; there are: auto, {', '.join(available)}")
    if not available[name]:
        there = ", ".join(kind for kind, found in available.items() if found)
        raise ValueError(f"device {name!r} is not available here; available: {there} (or auto)")
    return torch.device(name)


def keep_fp32_exact() -> None:
    """Switch TF32 off in this process's convolutions on CUDA, where it is the default.

    It keeps 10 bits of the mantissa: logits move by far more than the limits that exports and engines are held to.
    """
    torch.backends.cudnn.allow_tf32 = False


def prefer_repeatable() -> None:
    """Have cuDNN choose, in this process, algorithms that add in the same order every time."""
    torch.backends.cudnn.deterministic = True


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bf16 arithmetic is native: tensor cores, or a CPU with AMX or AVX512-BF16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
    return False


def mixed_precision(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """bf16 autocast where the device is fast at it, otherwise plain fp32."""
    if has_fast_bf16(device):
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def describe(device: torch.device, *, exact: bool = False) -> str:
    """A line for reports: processor, threads, precision (`exact`: fp32 was asked for)."""
    precision = "bf16 autocast" if has_fast_bf16(device) and not exact else "fp32"
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {precision}"
    name = torch.cpu.get_capabilities().get("cpu_name", "unknown") if device.type == "cpu" else "Apple GPU"
    return f"{device.type} ({name}), {torch.get_num_threads()} threads, {precision}"
