"""Batch: histories of observations as tensors, chunks, and shapes that are refused."""

import numpy as np
import pytest
import torch

from act.data.batch import Batch


def obs(value: float, size=(8, 12), cameras=("a", "b")) -> dict:
    images = {camera: np.full((*size, 3), 10 * i + int(value), np.uint8) for i, camera in enumerate(cameras)}
    return {"qpos": np.full(14, value), "env_state": np.full(7, -value), "images": images}


def test_histories_become_tensors_in_the_order_of_the_cameras():
    batch = Batch.from_histories([[obs(1), obs(2)], [obs(3), obs(4)]], ("b", "a"), (8, 12), use_env_state=True)
    assert batch.qpos.shape == (2, 2, 14) and batch.qpos.dtype == torch.float32 and batch.batch_size == 2
    assert batch.env_state is not None and batch.env_state[1, 0, 0] == -3
    assert batch.images is not None and batch.images.shape == (2, 2, 2, 8, 12, 3)
    assert batch.images[1, 1, :, 0, 0, 0].tolist() == [14, 4]


def test_images_of_another_size_are_resized_by_area():
    large = obs(0)
    large["images"]["a"] = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    images = Batch.from_histories([[large]], ("a",), (8, 12)).images
    expected = large["images"]["a"].reshape(8, 2, 12, 2, 3).mean((1, 3))
    assert images is not None and np.abs(images[0, 0, 0].numpy() - expected).max() <= 1


def test_a_camera_that_is_missing_is_named():
    with pytest.raises(ValueError, match="camera 'top', but the observation has a, b"):
        Batch.from_histories([[obs(1)]], ("top",))
    with pytest.raises(ValueError, match="has no images"):
        Batch.from_histories([[{"qpos": np.zeros(14)}]], ("top",))


def test_encoded_features_replace_images():
    history = [{"qpos": np.zeros(14), "features": np.full((2, 3), t)} for t in range(4)]
    batch = Batch.from_histories([history, history], ("a", "b"))
    assert batch.images is None and batch.features is not None and batch.features.shape == (2, 4, 2, 3)
    assert batch.features[1, :, 1, 2].tolist() == [0, 1, 2, 3]


def test_chunks_of_the_past_come_before_the_newest():
    past, newest = torch.arange(30.0).reshape(1, 2, 5, 3), torch.full((1, 5, 3), -1.0)
    pads = torch.zeros(1, 2, 5).bool(), torch.ones(1, 5).bool()
    batch = Batch(torch.zeros(1, 3, 14), action=newest, is_pad=pads[1], past_action=past, past_is_pad=pads[0])
    action, is_pad = batch[:1].to("cpu").chunks()
    assert torch.equal(action[:, :2], past) and torch.equal(action[:, 2], newest)
    assert is_pad.sum(-1).tolist() == [[0, 0, 5]]
    with pytest.raises(ValueError, match="3 observations per sample, but 1 chunks"):
        Batch(torch.zeros(1, 3, 14), action=newest, is_pad=pads[1]).chunks()
    with pytest.raises(ValueError, match="it is a query"):
        Batch(torch.zeros(1, 3, 14)).chunks()


def test_a_part_of_a_batch_has_the_same_fields():
    batch = Batch(torch.arange(3.0).reshape(3, 1, 1), action=torch.zeros(3, 5, 14), is_pad=torch.zeros(3, 5).bool())
    part = batch[1:2].to("cpu")
    assert part.batch_size == 1 and part.qpos[0, 0, 0] == 1 and part.images is None and part.is_pad is not None


def test_shapes_that_disagree_are_refused():
    with pytest.raises(ValueError, match="env_state has shape"):
        Batch(torch.zeros(2, 1, 14), env_state=torch.zeros(3, 1, 7))
    with pytest.raises(ValueError, match="uint8"):
        Batch(torch.zeros(2, 1, 14), images=torch.zeros(2, 1, 1, 4, 4, 3))
    with pytest.raises(ValueError, match="come together"):
        Batch(torch.zeros(2, 1, 14), action=torch.zeros(2, 5, 14))
    with pytest.raises(ValueError, match="past_is_pad come together"):
        Batch(torch.zeros(2, 2, 14), past_action=torch.zeros(2, 1, 5, 14))
    with pytest.raises(ValueError, match="disagree"):
        Batch(torch.zeros(2, 1, 14), action=torch.zeros(2, 5, 14), is_pad=torch.zeros(2, 4).bool())
