"""Trains a policy on recorded demonstrations: config -> data -> policy -> fit -> checkpoints and logs.

    python train.py --preset fast --task_name sim_transfer_cube_scripted
    python train.py --task_name sim_transfer_cube_scripted --policy_class ACT --kl_weight 10 --chunk_size 100 \
        --hidden_dim 512 --batch_size 8 --dim_feedforward 3200 --num_epochs 2000 --lr 1e-5 --seed 0 --ckpt_dir D

Interrupted and started again with the same flags, it resumes. `python train.py --help` lists every field.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter

from tqdm import tqdm

import sim_envs
from act import command_line
from act.distributed import Processes, joined
from act.evaluation.validation import ValidationRollouts
from act.files import lock_folder, write_json
from act.interop.importing import open_dataset
from act.policies.base.policy import Policy
from act.run_folder import RunFolder
from act.seeds import VALIDATION_SEEDS
from act.training.checkpoint import MetricsLog
from act.training.config import TrainConfig, parse
from act.training.fit import Metrics, fit, saved_state
from act.training.preparation import load_data, make_policy, start_poses
from act.types import PolicySpec


def main(arguments: Sequence[str] | None = None) -> int:
    def work() -> None:
        config = parse(sys.argv[1:] if arguments is None else arguments).with_paths()
        folders = tuple(map(open_dataset, config.dataset_dir))  # data sets of LeRobot are imported, once
        run = config.run_dir
        assert run is not None, "with_paths has chosen one"
        with joined(config.device) as (processes, device):
            config = replace(config, dataset_dir=folders, device=device, processes=processes.size)
            train(config, run, processes)

    return command_line.run("train", work, stopped="the same command continues from the last checkpoint")


def train(config: TrainConfig, run: Path, processes: Processes) -> None:
    """One run, from its last checkpoint to its last step; of several processes, the first prints and writes."""
    episodes, held_out, spec = load_data(config)
    config = config.resolved(len(episodes.episodes))
    policy = make_policy(config, episodes, spec)
    with lock_folder(run, "trained", "--run_dir") if processes.is_main else nullcontext():
        saved = saved_state(policy, episodes, held_out, config)
        start = saved.step if saved else 0
        del saved  # as large as the weights and their moments together
        if processes.is_main and (starts := start_poses(episodes)):
            write_json(RunFolder(run).starts_file, {"train": starts})
        if start == config.steps:
            if processes.is_main:
                print(f"{run} is already trained ({start} steps); evaluate it with: python eval.py {run}")
            return
        if not processes.is_main:
            for _ in fit(policy, episodes, held_out, config, processes=processes):
                pass
            return
        print_plan(config, policy, len(episodes.episodes), len(held_out.episodes) if held_out else 0, start)
        write_json(run / "config.json", config.to_json())
        with validation_rollouts(config, spec) as success_rate:
            if success_rate is not None:
                success_rate.check(spec)
            log_progress(fit(policy, episodes, held_out, config, success_rate, processes), config, run, start)


def validation_rollouts(config: TrainConfig, spec: PolicySpec) -> AbstractContextManager[ValidationRollouts | None]:
    """The success rate of a policy on validation seeds; None when --eval_every asks for no rollouts."""
    if not config.eval_every:
        return nullcontext()
    make_env = partial(sim_envs.make, config.env_name, cameras=spec.cameras, image_size=spec.rendered_size)
    return ValidationRollouts(make_env, VALIDATION_SEEDS[: config.eval_rollouts])


def log_progress(training: Iterator[Metrics], config: TrainConfig, run: Path, start: int) -> None:
    """Writes metrics.jsonl and shows a progress bar while the training goes on from step `start`."""
    log, began = MetricsLog(run, start), perf_counter()
    with tqdm(total=config.steps, initial=start, desc="training", unit="step", disable=None) as bar:
        for metrics in training:
            log.write({**metrics.to_json(), "wall_time_s": round(perf_counter() - began, 1)})
            bar.update(metrics.step - bar.n)
            bar.set_postfix_str(str(metrics))
    log.close()
    print(f"trained {run}/policy.safetensors: {config.steps} steps, {perf_counter() - began:.0f} s")


def print_plan(config: TrainConfig, policy: Policy, n_train: int, n_held_out: int, start: int) -> None:
    """What this training is going to do, in two lines."""
    trained = sum(parameter.numel() for parameter in policy.parameters() if parameter.requires_grad)
    inputs = ", ".join(policy.spec.cameras) or "object poses"
    print(f"{config.policy_class}: {trained / 1e6:.1f} M trained parameters, input {inputs}, chunk {policy.chunk_size}")
    resumed = f", from step {start}" if start else ""
    batch = f"{config.processes} x {config.batch_size}" if config.processes > 1 else config.batch_size
    print(f"{n_train} training episodes, {n_held_out} held out; {config.steps} steps, batch size {batch}{resumed}")


if __name__ == "__main__":
    sys.exit(main())
