"""A training of seconds: a tiny ACT on tiny episodes."""

import dataclasses
from pathlib import Path

from act.policies import act as act_policy
from act.training.config import TrainConfig, preset
from act.training.fit import fit
from act.training.preparation import load_data, make_policy
from tests.act.data.test_dataset import SIZE, write

TINY = act_policy.Config(
    chunk_size=6,
    hidden_dim=16,
    dim_feedforward=32,
    n_heads=2,
    n_encoder_layers=1,
    n_cvae_layers=1,
    latent_dim=4,
    dropout=0.1,
    use_images=False,
    use_env_state=True,
    input_noise=0.02,
)


def make(directory: Path, **changes) -> TrainConfig:
    """Returns the configuration of a short run on tiny episodes."""
    data = directory / "data"
    if not data.exists():
        data.mkdir()
        write(data, lengths=(12, 9, 11, 10, 12))
    config = preset("paper", "act", "sim_toy_scripted")
    values = {
        "policy": TINY,
        "dataset_dir": data,
        "run_dir": directory / "run",
        "steps": 8,
        "lr": 3e-3,
        "schedule": "cosine",
        "warmup_steps": 2,
        "ema_decay": 0.9,
        "grad_clip": 1.0,
        "log_every": 2,
        "validate_every": 4,
        "save_every": 4,
        "image_size": SIZE,
        "cameras": ("cam0", "cam1"),
    }
    return dataclasses.replace(config, **values | changes)


def run(config: TrainConfig, stop: int | None = None, evaluate=None) -> list:
    """Returns the metrics of a run; with `stop` it is interrupted after that step."""
    train, held_out, spec = load_data(config)
    metrics = []
    for line in fit(make_policy(config, train, spec), train, held_out, config, evaluate):
        if stop is not None and metrics and metrics[-1].step == stop:
            break
        metrics.append(line)
    return metrics
