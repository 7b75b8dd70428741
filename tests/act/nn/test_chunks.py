"""Chunks: padding, random draws sample by sample, and splines."""

import torch

from act.nn.chunks import choose, cubic_spline, draw, hold, normal, spline_fit

CPU = torch.device("cpu")


def test_padding_repeats_the_last_real_action():
    action = torch.arange(8.0).reshape(2, 4, 1)
    is_pad = torch.tensor([[False, False, True, True], [False, False, False, False]])
    assert hold(action, is_pad)[:, :, 0].tolist() == [[0, 1, 1, 1], [4, 5, 6, 7]]


def test_draws_have_the_probabilities_of_the_softmax_and_never_take_impossible_classes():
    torch.manual_seed(0)
    logits = torch.tensor([0.5, 0.0, 0.3, 0.2]).log().expand(4000, 2, 4)
    shares = torch.stack([torch.bincount(draw(logits)[:, i], minlength=4) / 4000 for i in range(2)])
    assert torch.allclose(shares, torch.tensor([0.5, 0.0, 0.3, 0.2]).expand(2, 4), atol=0.03) and not shares[:, 1].any()


def test_the_smallest_and_largest_uniform_number_give_the_first_and_last_class():
    assert choose(torch.zeros(2, 5), torch.tensor([0.0, 1.0])).tolist() == [0, 4]


def test_two_samples_get_the_random_numbers_of_two_batches_of_one():
    logits = torch.randn(1, 3, 5).expand(2, 3, 5)
    for sample in (lambda n: normal(n, (3, 7), CPU), lambda n: draw(logits[:n])):
        torch.manual_seed(0)
        ones = torch.cat([sample(1), sample(1)])
        torch.manual_seed(0)
        assert torch.equal(sample(2), ones)


def test_fitted_points_reproduce_straight_lines_and_come_near_smooth_curves():
    spline = cubic_spline(60, 4)
    assert torch.allclose((spline_fit(spline) @ torch.arange(60.0)).diff(), torch.tensor(4.0), atol=1e-2)
    wave = torch.sin(torch.arange(60.0) / 8)
    points = spline_fit(spline) @ wave
    assert float((spline @ points - wave).abs().max()) < 0.05 and float(points.abs().max()) < 1.5
    assert torch.equal(spline_fit(cubic_spline(5, 1)), torch.eye(5))
    short = cubic_spline(4, 4)  # four points for four samples, but not the identity
    assert torch.allclose((spline_fit(short) @ torch.arange(4.0)).diff(), torch.tensor(4.0), atol=0.1)
