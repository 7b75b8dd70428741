"""Files of the features that a frozen backbone computes once: one per episode, or one for all random scenes.

They are only a cache. A file that is damaged, incomplete or of other sizes counts as missing, and is made again.
"""

from pathlib import Path

import torch
from torch import Tensor

from act.nn.tensors import DIGEST, read_with_digest, write_with_digest

ROWS_AT_ONCE = 64  # that are tested for being finite


def keep_features(file: Path, features: Tensor) -> Tensor:
    """Writes features (rows, N, ...) and returns them mapped from the file, so that unused pages need no memory."""
    write_with_digest(file, {"features": features})
    kept = kept_features(file, (features.shape[0], features.shape[1]))
    if kept is None:
        raise OSError(f"{file} holds other features than were written; is the disk sound?")
    return kept


def kept_features(file: Path, shape: tuple[int, int]) -> Tensor | None:
    """The features (rows, N, ...) of a file, mapped from it; None unless they are whole, finite and of this shape.

    shape: (rows, N). A file of an earlier version has no digest, so that a flipped bit in it is not found.
    """
    if not file.exists():
        return None
    try:
        tensors, header = read_with_digest(file)
    except ValueError:
        return None
    features = tensors.get("features")
    if features is None or features.ndim < 3 or tuple(features.shape[:2]) != shape or not features.is_floating_point():
        return None
    if DIGEST not in header and not all(bool(torch.isfinite(part).all()) for part in features.split(ROWS_AT_ONCE)):
        return None
    return features
