"""How ONNX Runtime is set up: threads on the CPU, memory and precision on CUDA. Each option has its reason."""

import json
from dataclasses import dataclass

import onnxruntime

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Tuning:
    """What of an engine an operator may choose."""

    threads: int = 0  # of one call on the CPU; 0 is one for each core
    shared: bool = False  # whether other workers use the same cores
    tf32: bool = False
    cuda_memory_mib: int = 0  # 0 is as much as there is


DEFAULT = Tuning()


def session_options(tuning: Tuning) -> onnxruntime.SessionOptions:
    """The options of a session."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = tuning.threads
    if tuning.shared:
        # A thread that spins while it waits takes the core away from another worker.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def cuda_options(tuning: Tuning) -> dict[str, str]:
    """The options of the CUDA provider."""
    options = {
        # EXHAUSTIVE, the default, tunes again for every new batch size: seconds, in the middle of a request.
        "cudnn_conv_algo_search": "HEURISTIC",
        # On by default, it was seen to move logits by up to 0.3; unless asked for, no answer depends on the engine.
        "use_tf32": str(int(tuning.tf32)),
        # Grow by what is needed; the default doubles and takes memory that other processes may need.
        "arena_extend_strategy": "kSameAsRequested",
    }
    if tuning.cuda_memory_mib:
        # Without a limit a large batch may leave nothing to the other processes on the device.
        options["gpu_mem_limit"] = str(tuning.cuda_memory_mib * MEBIBYTE)
    return options


def openvino_options(tuning: Tuning) -> dict[str, str]:
    """The options of OpenVINO's provider, whose threads are its own."""
    # It takes bf16 by itself where the processor has it; what is promised as fp32 is computed so.
    options: dict[str, str | int | bool] = {"INFERENCE_PRECISION_HINT": "f32"}
    if tuning.threads:
        options["INFERENCE_NUM_THREADS"] = tuning.threads
    if tuning.shared:
        # Each worker would bind its threads to the same first cores: two of one thread got half the pictures a second.
        options["ENABLE_CPU_PINNING"] = False
    return {"load_config": json.dumps({"CPU": options})}
