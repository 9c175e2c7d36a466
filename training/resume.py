"""What a killed run needs to go on: weights, optimiser and history of the last finished epoch, in one file.

Random numbers need no place in it: every epoch starts from a seed of its own (`epoch.epoch_seed`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from training import tensorfile
from training.files import write_atomically
from training.recipe import from_mapping
from training.trainee import Trainee

Epoch = dict[str, Any]  # a line of metrics.jsonl
HEADER_KEY = "alexnet-run"


class ResumeError(Exception):
    """The resume state is missing, damaged or of another run; the message says which and what to do."""


@dataclass(frozen=True)
class State:
    """The tensors of a run and one history entry for every finished epoch."""

    path: Path
    tensors: dict[str, Tensor]
    history: list[Epoch]


def state_path(run: Path) -> Path:
    """Where a run keeps its state."""
    return run / "resume" / "state.safetensors"


def save(run: Path, trainee: Trainee, identity: dict[str, Any], history: list[Epoch]) -> None:
    """Write the state of a finished epoch atomically. `identity` (plain JSON) is what a resumed run must share."""
    tensors = {
        f"{part}.{name}": tensor for part, module in _modules(trainee) for name, tensor in module.state_dict().items()
    }
    for index, (optimizer, parameter) in enumerate(_parameters(trainee)):
        for name, value in optimizer.state[parameter].items():
            tensors[f"optimizer.{index}.{name}"] = value
    description = {"identity": identity, "history": history}
    write_atomically(state_path(run), tensorfile.encode(tensors, HEADER_KEY, description))


def load(run: Path, identity: dict[str, Any]) -> State:
    """Read the state of the run in `run`. Raises ResumeError where it is not the run described by `identity`."""
    path = state_path(run)
    if not path.exists():
        raise ResumeError(f"there is nothing to resume in {run}: no epoch was finished; start without --resume")
    try:
        tensors, saved = tensorfile.decode(path.read_bytes(), HEADER_KEY)
        before, history = dict(saved["identity"]), list(saved["history"])
        # A state written before a recipe had some field means that field's default.
        before["recipe"] = from_mapping(before["recipe"]).as_json()
    except (tensorfile.TensorFileError, KeyError, TypeError, ValueError) as error:
        raise _unusable(path, error) from error
    if changed := sorted(key for key in identity | before if identity.get(key) != before.get(key)):
        raise ResumeError(f"{path} belongs to a run with other settings: {', '.join(changed)}; give the same ones")
    return State(path, tensors, history)


def restore(state: State, trainee: Trainee) -> None:
    """Put weights and optimiser back as they were. Raises ResumeError where the state does not fit them."""
    parameters = _parameters(trainee)
    try:
        for part, module in _modules(trainee):
            saved = {key.removeprefix(f"{part}."): t for key, t in state.tensors.items() if key.startswith(f"{part}.")}
            module.load_state_dict(saved)
        for key, tensor in state.tensors.items():
            if key.startswith("optimizer."):
                _, index, name = key.split(".", 2)
                optimizer, parameter = parameters[int(index)]
                optimizer.state[parameter][name] = _like(parameter, tensor)
    except (RuntimeError, IndexError, ValueError) as error:
        raise _unusable(state.path, error) from error


def _like(parameter: Tensor, saved: Tensor) -> Tensor:
    """Laid out like the parameter (channels_last, say), so that the optimiser stays fast; a count stays as it is."""
    return torch.empty_like(parameter).copy_(saved) if saved.shape == parameter.shape else saved


def _modules(trainee: Trainee) -> list[tuple[str, nn.Module]]:
    """What of a trainee has weights, by the name it has in the file."""
    averaged = [] if trainee.averaged is None else [("averaged", trainee.averaged)]
    return [("network", trainee.network), *averaged]


def _unusable(path: Path, error: Exception) -> ResumeError:
    return ResumeError(f"{path} cannot be resumed from: {error}; start again with another --out")


def _parameters(trainee: Trainee) -> list[tuple[Optimizer, Tensor]]:
    """Every parameter that learns, with the optimiser that moves it."""
    return [
        (optimizer, parameter)
        for optimizer in trainee.optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
