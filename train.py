"""Trains a policy on recorded demonstrations: config -> data -> policy -> fit -> checkpoints and logs.

    python train.py --preset fast --task_name sim_transfer_cube_scripted
    python train.py --task_name sim_transfer_cube_scripted --policy_class ACT --kl_weight 10 --chunk_size 100 \
        --hidden_dim 512 --batch_size 8 --dim_feedforward 3200 --num_epochs 2000 --lr 1e-5 --seed 0 --ckpt_dir D

Interrupted and started again with the same flags, it resumes. `python train.py --help` lists every field.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter

import gymnasium
from tqdm import tqdm

from act.distributed import Processes, joined
from act.evaluation.evaluate import evaluate
from act.files import lock_folder, write_json
from act.policies.base.policy import Policy
from act.runtime.agents import PolicyAgent
from act.runtime.envs import ParallelEnvs
from act.seeds import VALIDATION_SEEDS
from act.training.checkpoint import MetricsLog
from act.training.config import TrainConfig, parse
from act.training.fit import Metrics, fit, load_data, make_policy, saved_state
from act.types import PolicySpec
from act.workers import available_cores

ENVS_PER_CORE = 8  # environments that share one query of the policy


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        config = parse(sys.argv[1:] if arguments is None else arguments).with_paths()
        assert config.run_dir is not None
        with joined(config.device) as (processes, device):
            train(replace(config, device=device, processes=processes.size), config.run_dir, processes)
    except (ValueError, OSError) as error:
        print(f"train: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ntrain: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


def train(config: TrainConfig, run: Path, processes: Processes) -> None:
    """One run, from wherever it stands to its last step; the first of several processes talks and writes."""
    episodes, held_out, spec = load_data(config)
    config = config.resolved(len(episodes.episodes))
    policy = make_policy(config, episodes, spec)
    with lock_folder(run, "trained", "--run_dir") if processes.is_main else nullcontext():
        saved = saved_state(policy, episodes, held_out, config)
        start = saved.step if saved else 0
        del saved  # as large as the weights and their moments together
        if start == config.steps:
            if processes.is_main:
                print(f"{run} is trained already ({start} steps); evaluate it with eval.py.")
            return
        if not processes.is_main:
            for _ in fit(policy, episodes, held_out, config, processes=processes):
                pass
            return
        tell(config, policy, len(episodes.episodes), len(held_out.episodes) if held_out else 0, start)
        write_json(run / "config.json", config.to_json())
        with rollouts(config, spec) as judge:
            watch(fit(policy, episodes, held_out, config, judge, processes), config, run, start)


def watch(training: Iterator[Metrics], config: TrainConfig, run: Path, start: int) -> None:
    """Writes the log and shows the progress while it trains from step `start` on."""
    log, began = MetricsLog(run, start), perf_counter()
    with tqdm(total=config.steps, initial=start, desc="training", unit="step", disable=None) as bar:
        for metrics in training:
            log.write({**metrics.to_json(), "wall_time_s": round(perf_counter() - began, 1)})
            bar.update(metrics.step - bar.n)
            bar.set_postfix_str(describe(metrics))
    log.close()
    print(f"{run}/policy.safetensors is trained ({config.steps} steps, {perf_counter() - began:.0f} s).")


@contextmanager
def rollouts(config: TrainConfig, spec: PolicySpec) -> Iterator[Callable[[Policy], float] | None]:
    """A function that gives the success rate of a policy on validation seeds; None when no rollouts are asked for."""
    if not config.eval_every:
        yield None
        return
    make = partial(make_env, config.env_name, spec.cameras, spec.recorded_size or spec.image_size)
    seeds = VALIDATION_SEEDS[: config.eval_rollouts]
    with ParallelEnvs(make, min(config.eval_rollouts, ENVS_PER_CORE * available_cores()), available_cores()) as envs:
        yield lambda policy: evaluate(envs, PolicyAgent(policy), seeds, progress=False).success.rate


def make_env(task: str, cameras: tuple[str, ...], image_size: tuple[int, int]) -> gymnasium.Env:
    """An environment; only the simulating processes call this, since Mesa's LLVM and Triton's do not get along."""
    import sim_envs

    return sim_envs.make(task, cameras=cameras, image_size=image_size)


def tell(config: TrainConfig, policy: Policy, n_train: int, n_held_out: int, start: int) -> None:
    """What is about to happen, in two lines."""
    trained = sum(parameter.numel() for parameter in policy.parameters() if parameter.requires_grad)
    sees = ", ".join(policy.spec.cameras) or "object poses"
    print(
        f"{config.policy_class} ({trained / 1e6:.1f} M trained parameters) sees {sees}; chunks of {policy.chunk_size}."
    )
    resumed = f", from step {start}" if start else ""
    batch = f"{config.processes} x {config.batch_size}" if config.processes > 1 else config.batch_size
    print(f"{n_train} episodes, {n_held_out} held out; {config.steps} steps of {batch}{resumed}.")


def describe(metrics: Metrics) -> str:
    """The losses as the progress bar shows them."""
    losses = [
        f"{key} {value:.4f}" for key, value in metrics.losses.items() if key != "loss" or len(metrics.losses) == 1
    ]
    validation = metrics.validation.get("deployed_l1")
    losses += [f"held-out {validation:.4f}"] if validation is not None else []
    return ", ".join(losses + ([f"success {100 * metrics.success:.0f} %"] if metrics.success is not None else []))


if __name__ == "__main__":
    sys.exit(main())
