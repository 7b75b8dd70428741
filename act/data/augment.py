"""Augmentation of image batches, on their device, with random numbers from torch's global generator.

Photometric changes are safe. Geometric shifts are label noise here, because the cameras never move: a shift of 4 pixels
at 120x160 corresponds to 43 mm on the table. They are for scenes whose cameras move.
"""

from dataclasses import replace
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor

from act.data.batch import Batch

Augmentation = Literal["none", "photometric", "shift"]
BRIGHTNESS, CONTRAST, COLOR, NOISE = (
    0.12,
    0.25,
    0.06,
    0.02,
)  # of full scale: half-widths, and std of the noise
SHIFT = 4  # pixels


def augment(batch: Batch, kind: Augmentation) -> Batch:
    """The batch with changed images.

    "photometric" draws one change per sample and camera, the same for its whole history. "shift" also moves the images,
    all cameras of a sample in the same direction.
    """
    if kind == "none" or batch.images is None:
        return batch
    images = batch.images if kind == "photometric" else shift(batch.images, SHIFT)
    lead = images.shape[0], 1, images.shape[2]
    changed = photometric(images.float() / 255, lead)
    return replace(batch, images=changed.mul_(255).round_().to(torch.uint8))


def photometric(images: Tensor, lead: tuple[int, ...]) -> Tensor:
    """Changes brightness, contrast and colour of images (..., H, W, 3) in [0, 1] and adds pixel noise.

    One change is drawn for each entry of `lead`, which broadcasts to the leading axes.
    """

    def draw(half_width: float, channels: int = 1) -> Tensor:
        return (torch.rand(*lead, 1, 1, channels, device=images.device) * 2 - 1) * half_width

    mean = images.mean((-3, -2, -1), keepdim=True)
    changed = (images - mean) * (1 + draw(CONTRAST)) + mean + draw(BRIGHTNESS) + draw(COLOR, 3)
    return changed.add_(NOISE * torch.randn_like(images)).clamp_(0, 1)


def shift(images: Tensor, pixels: int) -> Tensor:
    """Moves images (B, T, N, H, W, 3) by up to `pixels` in x and y, one move per sample; edges are repeated."""
    batch_size, (height, width) = len(images), images.shape[-3:-1]
    moves = torch.randint(-pixels, pixels + 1, (2, batch_size, 1), device=images.device)
    y = (torch.arange(height, device=images.device) + moves[0]).clamp(0, height - 1)  # (B, H)
    x = (torch.arange(width, device=images.device) + moves[1]).clamp(0, width - 1)
    samples = torch.arange(batch_size, device=images.device)[:, None, None]
    moved = rearrange(images, "b t n h w c -> b h w t n c")[samples, y[:, :, None], x[:, None]]
    return rearrange(moved, "b h w t n c -> b t n h w c")
