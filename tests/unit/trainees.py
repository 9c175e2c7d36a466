"""A network of a few thousand weights in training, and pictures of 4x4 to fit it to: for tests of single steps."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from tqdm import tqdm

from tests.unit.runs import METADATA, one_thread
from training import epoch, trainee
from training.data.dataset import Split
from training.recipe import Recipe, Stage
from training.resume import Epoch
from training.trainee import Trainee

CPU = torch.device("cpu")
SIDE = 4
# Plain SGD in fp32 without augmentation: what a step does can be reckoned by hand.
PLAIN = Recipe(
    network="simple-cnn",
    stages=(Stage(1, 8, 0.5),),
    precision="fp32",
    optimizer="sgd",
    momentum=0.0,
    weight_decay=0.0,
    schedule="constant",
    flip=False,
    crop_padding=0,
    cutout=0,
)


def split(count: int, side: int = SIDE) -> Split:
    """Noise with the labels 0, 1, 2 in turn."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, side, side, 3), generator=generator, dtype=torch.uint8)
    return Split(images, torch.arange(count) % 3)


def build(recipe: Recipe = PLAIN, side: int = SIDE) -> Trainee:
    """A trainee for three classes of such pictures."""
    metadata = replace(METADATA, network=recipe.network, size=side)
    return trainee.build(recipe, metadata, split(30, side).images, CPU)


@one_thread()
def run_epochs(trained: Trainee, count: int, fit: Split, after_step: Callable[[], None] = lambda: None) -> list[Epoch]:
    """Run the first `count` epochs of a trainee. Returns the history."""
    history: list[Epoch] = []
    with tqdm(disable=True) as bar:
        while len(history) < count:
            history.append(epoch.run_epoch(trained, history, fit, split(6, fit.images.shape[1]), bar, after_step))
    return history


def numbers(module: torch.nn.Module) -> dict[str, Tensor]:
    """A copy of a module's weights and statistics, without what it counts."""
    return {name: tensor.clone() for name, tensor in module.state_dict().items() if tensor.is_floating_point()}
