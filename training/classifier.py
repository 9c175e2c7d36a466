"""The serving module: preprocessing, network and softmax in one graph, so that nobody repeats the preprocessing.

Training feeds `Preprocess`, export traces `Classifier`, and the PyTorch engine runs it: one definition for all.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Preprocess(nn.Module):
    """uint8 [N, H, W, C] in 0..255 to float32 [N, C, H, W]: (x / 255 - mean) / std, channel by channel."""

    pixel_scale: Tensor
    pixel_offset: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        means, deviations = torch.tensor(mean).view(1, -1, 1, 1), torch.tensor(std).view(1, -1, 1, 1)
        self.register_buffer("pixel_scale", 1 / (255 * deviations), persistent=False)
        self.register_buffer("pixel_offset", -means / deviations, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return images.permute(0, 3, 1, 2).to(torch.float32) * self.pixel_scale + self.pixel_offset


class Classifier(nn.Module):
    """uint8 images [N, H, W, C] to float32 logits [N, K] and probabilities [N, K].

    `temperature` divides the logits before the softmax (Guo et al. 2017, "On Calibration of Modern Neural Networks");
    the logits themselves are returned as the network gives them.
    """

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float], temperature: float) -> None:
        super().__init__()
        self.preprocess = Preprocess(mean, std)
        self.network = network
        self.temperature = temperature

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(self.preprocess(images))
        return logits, torch.softmax(logits / self.temperature, dim=1)
