"""VINN: recalled chunks against brute force, and the memory that is saved with the weights."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from act.data.batch import Batch
from act.data.dataset import EpisodeDataset, Sampling
from act.data.episodes import Episode
from act.data.normalize import Normalizer
from act.policies.base.storage import load_policy
from act.policies.vinn import Config, Policy
from act.training.config import preset
from act.training.fit import fit
from act.training.preparation import load_data, make_policy
from act.types import PolicySpec
from tests.act.data.test_dataset import write

K = 5
SPEC = PolicySpec(env_state_dim=7)


def episodes(lengths=(20, 15)) -> EpisodeDataset:
    rng = np.random.default_rng(0)

    def episode(length: int) -> Episode:
        qpos, qvel, action = (rng.random((length, 14), np.float32) for _ in range(3))
        return Episode(Path("none"), qpos, qvel, action, rng.random((length, 7), np.float32), None, (), True, {})

    return EpisodeDataset([episode(length) for length in lengths], Sampling(K, use_env_state=True))


def remember(dataset: EpisodeDataset, **config) -> Policy:
    normalizer = Normalizer.of(SPEC)
    dataset.fit(normalizer)
    policy = Policy(Config(K, use_images=False, use_env_state=True, **config), SPEC, normalizer)
    policy.before_training(dataset)
    return policy


def query(n: int = 4) -> Batch:
    torch.manual_seed(0)
    return Batch(torch.rand(n, 1, 14), torch.rand(n, 1, 7))


def test_a_frame_of_the_memory_recalls_its_own_chunk_to_the_end_of_its_episode():
    dataset = episodes()
    policy = remember(dataset, k=1)
    for row in (0, 7, 18, 34):
        sample = dataset.take(torch.tensor([row]))
        recalled = policy.normalizer.decode("action", policy.predict(sample))
        assert sample.action is not None and torch.allclose(recalled, sample.action, atol=1e-6)
        assert float(policy.loss(sample)["loss"]) < 1e-6


def test_the_policys_own_actions_are_not_recalled_but_the_experts_labels_are():
    (made,) = episodes((20,)).episodes
    expert, at = np.arange(20) < 8, np.array([10, 15], np.int32)
    chunks = np.random.default_rng(1).random((2, K - 1, 14), np.float32)  # shorter than K: the last action is repeated
    labels = {"intervention": expert, "action_chunk": chunks, "action_chunk_t": at}
    made = dataclasses.replace(made, executed_action=np.where(expert[:, None], made.action, 0.5), **labels)
    dataset = EpisodeDataset([made], Sampling(K, use_env_state=True))
    policy = remember(dataset, k=1)
    assert len(policy.row) == 8 + 2
    for row in (0, 7, 10, 15):
        sample = dataset.take(torch.tensor([row]))
        recalled = policy.normalizer.decode("action", policy.predict(sample))
        assert sample.action is not None and torch.allclose(recalled, sample.action, atol=1e-6)
    assert torch.allclose(recalled[0, -1], torch.from_numpy(chunks[1, -1]), atol=1e-6)


@pytest.mark.parametrize("state_weight", [0.0, 10.0])
def test_recall_is_the_brute_force_mean_over_the_sorted_neighbours(state_weight):
    dataset, batch, tau = episodes(), query(), 0.5
    policy = remember(dataset, k=6, state_weight=state_weight, temperature=tau)
    assert batch.env_state is not None and dataset.env_state is not None
    for b, answer in enumerate(policy.normalizer.decode("action", policy.predict(batch))):
        z = [policy.normalizer.encode("env_state", x).numpy() for x in (dataset.env_state, batch.env_state[b])]
        distance = np.linalg.norm(z[0] - z[1], axis=1)
        distance += state_weight * np.linalg.norm(dataset.qpos.numpy() - batch.qpos[b].numpy(), axis=1)
        order = np.argsort(distance)[:6]
        assert list(order) != sorted(order), "the memory must not happen to be sorted"
        weights = np.exp(-distance[order] / tau)
        chunks, _ = dataset.labels(torch.from_numpy(order))
        expected = np.einsum("n,nka->ka", weights / weights.sum(), chunks.numpy())
        assert np.allclose(answer.numpy(), expected, atol=1e-5)


def test_an_adaptive_k_is_large_for_noisy_actions_and_small_for_exact_ones():
    noisy = episodes((40, 40, 40))
    noisy.env_state = torch.linspace(0, 1, 40).repeat(3)[:, None].expand(-1, 7)
    noisy.qpos = torch.zeros(120, 14)
    noisy.action[:] = torch.randn(120, 1, generator=torch.Generator().manual_seed(0))
    many = int(remember(noisy).k)
    exact = episodes((40, 40, 40))
    exact.env_state, exact.qpos = noisy.env_state, noisy.qpos
    exact.action[:] = torch.linspace(0, 5, 40).repeat(3)[:, None].square()
    few = int(remember(exact, temperature=100.0).k)
    assert few <= 4 < 20 < many
    with pytest.raises(ValueError, match="needs two episodes"):
        remember(episodes((20,)))


def test_the_memory_is_saved_and_loaded_with_the_weights():
    policy, batch = remember(episodes()), query()
    again = Policy(dataclasses.replace(policy.config, k=3), SPEC, Normalizer.of(SPEC))
    with pytest.raises(ValueError, match="k 3 exceeds the 0 frames in memory"):
        again.predict(batch)
    again.load_state_dict(policy.state_dict())
    assert torch.equal(again.predict(batch), policy.predict(batch))


def test_training_fills_the_memory_in_one_step(tmp_path):
    (tmp_path / "data").mkdir()
    write(tmp_path / "data", lengths=(12, 9, 11))
    config = preset("state", "vinn", "sim_toy_scripted")
    config = dataclasses.replace(
        config, dataset_dir=tmp_path / "data", run_dir=tmp_path / "run", num_epochs=2000, precision="fp32"
    ).resolved(2)
    train, held_out, spec = load_data(config)
    (metrics,) = fit(make_policy(config, train, spec), train, held_out, config)
    assert metrics.step == 1 and np.isfinite(metrics.validation["loss"])
    policy, again, sample = load_policy(tmp_path / "run"), make_policy(config, train, spec), train.sample(0, 3)
    assert isinstance(policy, Policy) and len(policy.row) == len(train)
    again.before_training(train)
    assert torch.equal(policy.predict(sample), again.predict(sample))
    assert list(fit(again, train, held_out, config)) == []


def test_settings_without_effect_are_refused():
    with pytest.raises(ValueError, match="VINN trains no backbone"):
        Config()
    with pytest.raises(ValueError, match=r"input_noise 0\.1 has no effect"):
        Config(use_images=False, use_env_state=True, input_noise=0.1)
    with pytest.raises(ValueError, match=r"temperature 0\.0 must be positive"):
        Config(use_images=False, use_env_state=True, temperature=0.0)
