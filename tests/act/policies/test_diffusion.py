"""Diffusion: schedules and samplers against their formulas, objectives against demonstrations of two ways."""

import math
from typing import Any

import pytest
import torch

from act.nn.denoisers import TIMES, TimeCode, Unet
from act.policies import diffusion
from act.policies.diffusion import Config, Ddpm, Flow, TwoSteps, cosine_schedule
from tests.fakes.two_ways import Demonstrations, answers, coverage, holds_both, learn

STATE: dict[str, Any] = {"use_images": False, "use_env_state": True}
LIMITS = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
SMALL: dict[str, Any] = {**STATE, "network": "mlp", "hidden_dim": 64, "n_layers": 2}


def clean_and_noise(n_noises: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return 2 * torch.rand(3, 4, 2) - 1, torch.randn(3, n_noises, 4, 2)


def test_the_schedule_is_the_squared_cosine_and_ends_in_noise():
    alpha_bar = cosine_schedule(100)
    for k in (0, 49, 98):
        expected = (
            math.cos(((k + 1) / 100 + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
        )
        assert float(alpha_bar[k]) == pytest.approx(expected, rel=1e-4)
    assert bool((alpha_bar.diff() < 0).all()) and float(alpha_bar[0]) > 0.999 and float(alpha_bar[-1]) < 1e-5


@pytest.mark.parametrize("train_steps", [100, 1000])
def test_every_level_of_noise_has_a_code_of_its_own(train_steps):
    code = TimeCode(4)
    time = Ddpm(Config(**STATE, train_steps=train_steps))._time(torch.arange(train_steps))
    assert len(code.table[(time * TIMES).long()].unique(dim=0)) == train_steps
    codes = code.eval()(time.float())
    assert len(codes.detach().unique(dim=0)) == train_steps


@pytest.mark.parametrize("predicts", ["noise", "chunk"])
@pytest.mark.parametrize(("inference_steps", "eta"), [(10, 0.0), (100, 0.0), (100, 1.0)])
def test_a_denoiser_that_knows_the_chunk_finds_it(predicts, inference_steps, eta):
    objective = Ddpm(Config(**STATE, predicts=predicts, inference_steps=inference_steps, eta=eta))
    clean, noise = clean_and_noise(objective.n_noises)

    def denoise(x: torch.Tensor, time: float) -> torch.Tensor:
        alpha = objective.alpha_bar[round(100 * time)]
        return clean if predicts == "chunk" else (x - alpha.sqrt() * clean) / (1 - alpha).sqrt()

    assert torch.allclose(objective.generate(denoise, noise, LIMITS), clean, atol=1e-4)


def test_full_noise_per_step_is_the_sampler_of_ddpm():
    objective = Ddpm(Config(**STATE, predicts="chunk", train_steps=5, inference_steps=5, eta=1.0))
    clean, noise = clean_and_noise(objective.n_noises)
    visited = []
    objective.generate(lambda x, time: visited.append(x) or clean, noise, LIMITS)
    a, b = objective.alpha_bar[4].double(), objective.alpha_bar[3].double()  # of the first step and the one below
    beta = 1 - a / b
    mean = (b.sqrt() * beta * clean + (1 - beta).sqrt() * (1 - b) * visited[0]) / (1 - a)  # Ho et al. 2020, eq. 7
    expected = mean + (beta * (1 - b) / (1 - a)).sqrt() * noise[:, 1]
    assert torch.equal(visited[0], noise[:, 0]) and torch.allclose(visited[1], expected.float(), atol=1e-5)


def test_a_ddpm_training_example_mixes_chunk_and_noise_by_its_time():
    clean, _ = clean_and_noise()
    noisy, time, noise = Ddpm(Config(**STATE)).training_example(clean)
    alpha = cosine_schedule(100)[(time * 100).round().long()][:, None, None]
    assert torch.allclose(noisy, alpha.sqrt() * clean + (1 - alpha).sqrt() * noise, atol=1e-6)


def test_a_flow_training_example_lies_on_the_line_to_the_chunk_and_its_velocity_arrives_in_one_step():
    clean, noise = clean_and_noise()
    noisy, time, velocity = Flow(Config(**STATE)).training_example(clean)
    assert torch.allclose(noisy + (1 - time)[:, None, None] * velocity, clean, atol=1e-6)
    for steps in (1, 7):
        for predicts, answer in (("noise", clean - noise[:, 0]), ("chunk", clean)):
            objective = Flow(Config(**STATE | {"inference_steps": steps, "predicts": predicts}))
            found = objective.generate(lambda x, t, answer=answer: answer, noise, LIMITS)
            assert torch.allclose(found, clean, atol=1e-5)


def test_regression_learns_the_chunk_from_zeros_and_from_nearly_the_chunk():
    clean, _ = clean_and_noise()
    noisy, time, target = TwoSteps(Config(**STATE)).training_example(clean)
    assert torch.equal(noisy[:3], torch.zeros(3, 4, 2)) and time.tolist() == pytest.approx([0.0] * 3 + [0.9] * 3)
    assert float((noisy[3:] - clean).abs().max()) < 0.5 and torch.equal(target, torch.cat([clean, clean]))


@pytest.mark.parametrize(
    "objective", [{"objective": "ddpm", "predicts": "chunk"}, {"objective": "flow", "predicts": "noise"}]
)
def test_ddpm_and_flow_hold_both_ways(objective):
    assert holds_both(learn(diffusion, Config(**SMALL, **objective), steps=400))


def test_regression_gives_one_answer_whose_first_step_is_the_mean():
    policy = learn(diffusion, Config(**SMALL, objective="regression"))
    chunks = answers(policy)
    assert float((chunks - chunks[0]).abs().max()) < 1e-5 and min(coverage(chunks)) == 0
    with torch.no_grad():
        observed = policy.vectors(Demonstrations().batch())[:1, -1]
        first = policy.denoiser(torch.zeros(1, 4, 2), torch.zeros(1), observed)
    assert float(first.abs().max()) < 0.1


def test_samples_of_ddpm_stay_within_what_was_demonstrated():
    policy = learn(diffusion, Config(**SMALL, predicts="chunk"), steps=0)
    action = Demonstrations().action
    chunks = answers(policy)  # of a network that learned nothing
    assert bool((chunks >= action.amin(0) - 1e-4).all() and (chunks <= action.amax(0) + 1e-4).all())
    far = policy.objective.generate(lambda x, time: 100 + x, torch.randn(1, 1, 4, 2), policy.limits)
    assert torch.allclose(policy.normalizer.decode("action", far), action.amax(0).expand(1, 4, 2), atol=1e-4)


def test_points_of_a_spline_are_denoised_in_place_of_actions():
    policy = learn(diffusion, Config(**SMALL, actions_per_point=2), steps=0)
    assert policy.config.n_points == 5
    noise, shapes = torch.randn(1, 1, 5, 2), []
    policy.objective.generate(lambda x, time: shapes.append(x.shape) or x, noise, LIMITS)
    with torch.autocast("cpu", torch.bfloat16):  # targets lose nothing to it
        assert policy._points(torch.zeros(1, 4, 2), torch.zeros(1, 4, dtype=torch.bool)).dtype == torch.float32
    assert set(shapes) == {(1, 5, 2)} and answers(policy, 3).shape == (3, 4, 2)


@pytest.mark.parametrize("chunk_size", [1, 5, 8])
def test_the_unet_takes_chunks_of_any_length(chunk_size):
    unet = Unet(point_dim=2, vector_dim=3, channels=(8, 8, 16))
    assert unet(torch.randn(2, chunk_size, 2), torch.rand(2), torch.randn(2, 3)).shape == (2, chunk_size, 2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"inference_steps": 101}, "inference_steps 101 must be 1 to train_steps 100"),
        ({"eta": 2.0}, "eta 2.0"),
        ({"channels": (12,)}, "channels .12,. must be multiples of 8"),
        ({"actions_per_point": 3}, "chunk_size 100 must be a multiple of actions_per_point 3"),
        ({"network": "transformer", "hidden_dim": 30}, "hidden_dim 30 must be a multiple of n_heads 4"),
        ({"train_steps": 1001}, "train_steps 1001 must be at most 1000"),
        (
            {"network": "transformer", "actions_per_token": 3},
            "100 points per chunk must be a multiple of",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Config(**STATE, **values)
