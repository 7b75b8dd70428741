"""Layers and visual backbones against their definitions."""

import math

import pytest
import torch
import torch.nn.functional as F
from torchvision.models import ResNet18_Weights, resnet18

from act.nn import transformer
from act.nn.bins import UniformBins
from act.nn.dropout import dropout
from act.nn.gpt import GPT
from act.nn.kmeans import kmeans, nearest
from act.nn.positions import sine_1d, sine_2d
from act.nn.resnet import ResNet18Trunk
from act.nn.transformer import Decoder, DecoderLayer, Encoder, EncoderLayer, attention
from act.nn.vision import KeypointConfig, KeypointTrunk, SpatialSoftmax, peaks, to_float, to_unit

CONFIG = KeypointConfig(("cube", "left", "right"), ("a", "b"), (64, 96), (8, 8, 8, 8))


def images(*lead: int) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randint(0, 256, (*lead, 64, 96, 3), dtype=torch.uint8)


def test_both_attentions_agree_with_and_without_a_mask(monkeypatch):
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 5, 8), torch.randn(3, 2, 7, 8), torch.randn(3, 2, 7, 8)
    mask = torch.arange(7) > torch.tensor([[6], [3], [1]])
    plain = [attention(q, k, v), attention(q, k, v, mask), attention(q[:1], k, v)]
    monkeypatch.setattr(transformer, "PLAIN_ATTENTION_LIMIT", 0)
    fused = [attention(q, k, v), attention(q, k, v, mask), attention(q[:1], k, v)]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(plain, fused, strict=True))


def test_masked_tokens_are_never_attended_to():
    layer = EncoderLayer(16, 2, 32).eval()
    x, mask = torch.randn(2, 4, 16), torch.tensor([[False, False, False, True]] * 2)
    changed = x.clone()
    changed[:, 3] += 100
    position = torch.zeros(4, 16)
    assert torch.allclose(layer(x, position, mask)[:, :3], layer(changed, position, mask)[:, :3], atol=1e-5)


def test_an_encoder_that_computes_only_the_first_token_gives_the_same_output_and_gradients():
    torch.manual_seed(0)
    encoder = Encoder(2, 16, 2, 32).double()
    x, position = torch.randn(3, 4, 16).double(), torch.randn(4, 16).double()
    mask = torch.arange(4) > torch.tensor([[3], [1], [2]])
    outputs, gradients = [], []
    for first in (encoder(x, position, mask)[:, :1], encoder(x, position, mask, n=1)):
        outputs.append(first)
        gradients.append(torch.autograd.grad(first.square().mean(), list(encoder.parameters())))
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(*gradients)


def test_queries_shared_by_a_batch_give_the_same_output_as_repeated_ones():
    torch.manual_seed(0)
    decoder = Decoder(2, 16, 2, 32).eval()
    assert isinstance(decoder.layers[0], DecoderLayer)
    queries, memory, position = torch.randn(5, 16), torch.randn(3, 4, 16), torch.randn(4, 16)
    shared = decoder(queries[None], memory, queries, position)
    repeated = decoder(queries.expand(3, 5, 16), memory, queries, position)
    assert shared.shape == (3, 5, 16) and torch.allclose(shared, repeated, atol=1e-5)


def test_sine_positions_follow_their_formula():
    table = sine_1d(4, 6)
    assert table[3, 0] == pytest.approx(math.sin(3)) and table[3, 1] == pytest.approx(math.cos(3))
    assert table[3, 2] == pytest.approx(math.sin(3 / 10_000 ** (1 / 3)))
    grid = sine_2d(3, 4, 8).reshape(3, 4, 8)
    assert torch.equal(grid[1, 0, :4], grid[1, 3, :4]) and torch.equal(grid[0, 2, 4:], grid[2, 2, 4:])
    assert grid[1, 0, 0] == pytest.approx(math.sin(2 / 3 * 2 * math.pi), abs=1e-5)
    with pytest.raises(ValueError, match="multiple of 4, not 6"):
        sine_2d(2, 2, 6)


def test_peaks_are_exact_between_cells_and_ignore_other_peaks():
    maps = torch.full((1, 1, 15, 20), -20.0)
    for (y, x), share in {(4, 7): 0.21, (4, 8): 0.49, (5, 7): 0.09, (5, 8): 0.21}.items():
        maps[0, 0, y, x] = math.log(share)
    maps[0, 0, 12, 2] = math.log(0.3)
    expected = torch.tensor([to_unit(torch.tensor(7.7), 20), to_unit(torch.tensor(4.3), 15)])
    assert torch.allclose(peaks(maps)[0, 0], expected, atol=1e-4)
    corner = torch.full((1, 1, 15, 20), -20.0)
    corner[0, 0, 14, 19] = 20
    assert torch.allclose(peaks(corner)[0, 0], torch.tensor([1 - 1 / 20, 1 - 1 / 15]), atol=1e-4)


def test_places_of_a_spatial_softmax_are_exact_under_autocast():
    pool = SpatialSoftmax(2, 2)
    torch.nn.init.zeros_(pool.project.weight)
    assert pool.project.bias is not None
    maps = torch.zeros(1, 2, 15, 20)
    with torch.no_grad():
        pool.project.weight[0, 0] = pool.project.weight[1, 1] = 1
        pool.project.bias.zero_()
        maps[0, 0, 2, 17] = maps[0, 1, 11, 5] = 64  # all of the weight in one cell
        with torch.autocast("cpu", torch.bfloat16):
            places = pool(maps)
    expected = torch.tensor([[17.5 / 10 - 1, 5.5 / 10 - 1, 2.5 / 7.5 - 1, 11.5 / 7.5 - 1]])
    torch.testing.assert_close(places, expected)


def test_a_folded_keypoint_detector_gives_the_same_output():
    torch.manual_seed(0)
    trunk = KeypointTrunk(CONFIG)
    camera = torch.tensor([0, 1, 0, 1])
    trunk.train()(to_float(images(4)), camera)  # moves the running statistics
    with torch.no_grad():
        maps, nowhere = trunk.eval()(to_float(images(4)), camera)
        folded = trunk.folded()
        folded_maps, folded_nowhere = folded(to_float(images(4)), camera)
    assert maps.shape == (4, 3, 16, 24) and nowhere.shape == (4, 3) and not folded.config.norm
    assert torch.allclose(maps, folded_maps, atol=1e-3) and torch.allclose(nowhere, folded_nowhere, atol=1e-3)


def test_a_keypoint_detector_is_saved_loaded_and_reduced_to_some_cameras(tmp_path):
    trunk = KeypointTrunk(CONFIG).folded()
    trunk.save(tmp_path)
    again = KeypointTrunk.load(tmp_path).eval()
    assert again.config == trunk.config
    with torch.no_grad():
        found = again.keypoints(images(5, 2))
        assert found.shape == (5, 2, 3, 3) and torch.equal(found, trunk.keypoints(images(5, 2)))
        assert (
            float(found[..., :2].abs().max()) <= 1
            and 0 <= float(found[..., 2].min()) <= float(found[..., 2].max()) <= 1
        )
        second = again.select(["b"]).keypoints(images(5, 2)[:, 1:])
    assert torch.allclose(second, found[:, 1:], atol=1e-3)
    with pytest.raises(ValueError, match="the keypoint detector: unknown camera 'c'; available: a, b"):
        again.select(["c"])
    with pytest.raises(ValueError, match="needs 2 cameras"):
        again.keypoints(images(5, 3))
    with pytest.raises(ValueError, match="holds no backbone"):
        KeypointTrunk.load(tmp_path / "nowhere")


def test_imagenet_weights_give_torchvisions_feature_maps(monkeypatch):
    torch.manual_seed(0)
    source = resnet18(weights=None).eval()
    for module in source.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()  # type: ignore[union-attr]
    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", lambda *_, **__: source.state_dict())
    trunk = ResNet18Trunk()
    trunk.load_imagenet()
    seen: list[torch.Tensor] = []
    source.avgpool.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x = to_float(images(1))
    with torch.no_grad():
        source((x - trunk.mean) / trunk.std)
        assert torch.allclose(trunk(x), seen[0], rtol=1e-3, atol=1e-3)


def test_all_norms_are_frozen_and_all_convolutions_learn():
    trunk = ResNet18Trunk()
    trunk(to_float(images(1))).square().mean().backward()
    assert len(list(trunk.parameters())) == 20  # one weight per convolution
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in trunk.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_drops_its_fraction_and_keeps_the_mean(dtype):
    torch.manual_seed(0)
    x = torch.full((7, 33, 1001), 2.0, dtype=dtype, requires_grad=True)
    y = dropout(x, 0.1)
    (slope,) = torch.autograd.grad(y.float().sum(), x)
    assert abs(float((y == 0).float().mean()) - 0.1) < 0.002
    assert torch.unique(y).tolist() == [0, float(torch.tensor(2.0, dtype=dtype) * (1 / 0.9))]
    assert torch.equal(slope != 0, y != 0) and float(slope.max()) == pytest.approx(1 / 0.9, rel=0.01)
    torch.manual_seed(0)
    assert torch.equal(dropout(x, 0.1), y)
    assert not torch.equal(dropout(x, 0.1), y)
    assert dropout(x, 0.0) is x


def test_the_error_of_a_failed_download_names_the_other_backbone_weights(monkeypatch):
    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", offline)
    with pytest.raises(ValueError, match=r"no route to host.*--backbone_weights none"):
        ResNet18Trunk().load_imagenet()


def test_images_become_floats_with_channels_last():
    x = to_float(images(2, 3))
    assert x.shape == (6, 3, 64, 96) and x.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(x[0, :, 5, 6], images(2, 3)[0, 0, 5, 6] / 255) and F.relu(x).max() <= 1


@pytest.mark.parametrize("limit", [transformer.PLAIN_ATTENTION_LIMIT, 0])
def test_a_causal_transformer_attends_to_its_own_step_and_earlier_ones(monkeypatch, limit):
    monkeypatch.setattr(transformer, "PLAIN_ATTENTION_LIMIT", limit)
    torch.manual_seed(0)
    gpt, x = GPT(2, 16, 2, 0.0, n_steps=3, tokens_per_step=2), torch.randn(2, 6, 16)
    before = gpt(x)
    for changed in range(6):
        other = x.clone()
        other[:, changed, 0] += 1.0  # layer norms would not notice the same in all channels
        differs = (gpt(other) - before).abs().amax((0, 2)) > 1e-6
        assert differs.tolist() == [token // 2 >= changed // 2 for token in range(6)]


def test_bins_are_decoded_at_their_centres_at_most_half_a_bin_from_the_value():
    torch.manual_seed(0)
    bins, values = UniformBins(3, 8), torch.randn(100, 3) * torch.tensor([1.0, 5.0, 0.0]) + 2
    bins.fit(values)
    again = bins.decode(bins.encode(values))
    assert bool(((again - values).abs() <= bins.width / 2 + 1e-5).all())
    assert torch.allclose(bins.decode(torch.tensor([0, 0, 0])), values.amin(0) + bins.width / 2)
    assert torch.equal(
        bins.encode(bins.decode(torch.arange(8)[:, None].expand(8, 3))), torch.arange(8)[:, None].expand(8, 3)
    )
    assert bins.encode(torch.tensor([-100.0, 100.0, 3.0])).tolist() == [0, 7, 7]


def test_k_means_finds_clusters_from_any_start_and_leaves_no_centre_without_a_point():
    torch.manual_seed(0)
    means = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = (means[:, None] + 0.1 * torch.randn(3, 50, 2)).flatten(0, 1)
    for _ in range(20):  # random points as starts would put two centres into one cluster in most of them
        centres = kmeans(points, 3)
        assert torch.allclose(centres[nearest(means, centres)], means, atol=0.1)
    centres = kmeans(points, 20)
    assert torch.equal(nearest(points, centres), torch.cdist(points, centres).argmin(1))
    assert int(torch.bincount(nearest(points, centres), minlength=20).min()) > 0
    with pytest.raises(ValueError, match="151 centres need as many points, not 150"):
        kmeans(points, 151)


def test_k_means_repeats_with_the_seed_of_torch_and_accepts_equal_points():
    points = torch.randn(200, 3, generator=torch.Generator().manual_seed(1))
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        found.append(kmeans(points, 8))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    two = torch.tensor([[0.0, 1.0], [2.0, 3.0]]).repeat_interleave(6, 0)
    centres = kmeans(two, 5)  # more centres than different points
    assert torch.equal(centres[nearest(two, centres)], two)
