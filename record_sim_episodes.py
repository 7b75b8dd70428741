"""Records episodes in simulation: a task and an agent -> DIR/episode_<i>.hdf5. The same command continues.

    python record_sim_episodes.py --task_name sim_transfer_cube_scripted --dataset_dir data/cube --num_episodes 50
    python record_sim_episodes.py --task_name sim_transfer_cube_scripted --random_scenes 3000 --image_size 240 320
    python record_sim_episodes.py --task_name sim_transfer_cube_scripted --agent dagger --policy RUN --round 2
    python record_sim_episodes.py --task_name sim_transfer_cube_human --agent human     # you, in the browser

This program introduces an environment to an agent; act/recording/ writes the files.
"""

import importlib
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import sim_envs
from act.cluster import RayWorkers, connected
from act.command_line import parse, run
from act.evaluation.card import write_dataset_card
from act.files import lock_folder
from act.recording import rounds, scenes
from act.recording.demonstrations import WorkerPool, record
from act.recording.options import Options
from act.recording.teleoperated import OPERATOR_STEPS, DeferredRendering
from act.runtime.agents import PolicyAgent
from act.seeds import DEMONSTRATION_SEEDS


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 recorded, 1 failed on the way, 2 wrong input, 130 stopped with Ctrl-C."""
    options = parse(
        Options,
        arguments,
        program="record_sim_episodes.py",
        description="Record episodes of a task, or labelled random scenes, in simulation. The same command continues.",
        example="python record_sim_episodes.py --task_name sim_transfer_cube_scripted --num_episodes 50",
        page="docs/data_format.md, docs/dagger.md, docs/teleoperation.md",
    )
    kept = "scenes are kept only when all are rendered" if options.random_scenes else "whole episodes are kept"
    stopped = f"{kept} in {options.directory}; the same command continues"
    return run("record", partial(record_episodes, options), stopped, failures=(RuntimeError, OSError), failure_code=1)


def record_episodes(options: Options) -> None:
    sim_envs.check_task_name(options.recording.task_name)
    options.check()
    if options.random_scenes:  # one file, whole or not at all: it needs no lock
        record_scenes(options)
    else:
        with lock_folder(options.directory, "recorded into", "--dataset_dir"):
            RECORD.get(options.agent, record_round)(options)
            write_dataset_card(options.directory)


def record_scenes(options: Options) -> None:
    recording, path = options.recording, options.directory / "scenes.hdf5"
    make_sampler = partial(sim_envs.make_scene_sampler, recording.task, **recording.view)
    scenes.record_scenes(recording, make_sampler, path, options.random_scenes, options.workers)
    print(f"{options.random_scenes} labelled scenes of {recording.task} in {path}; next: python -m act pretrain {path}")


def record_expert(options: Options) -> None:
    recording, make_env = options.recording, partial(sim_envs.make, options.recording.task, **options.recording.view)
    make_expert = partial(sim_envs.make_expert, recording.task, recording.style)
    start_workers = RayWorkers if options.ray else partial(WorkerPool, workers=options.workers)
    with connected(options.ray):
        print(record(recording, make_env, make_expert, options.directory, options.num_episodes, start_workers))


def record_round(options: Options) -> None:
    """A round of DAgger or HG-DAgger. The policies run in this process, the simulator in others."""
    from act.policies.base.storage import load_policy  # here, because an expert needs no torch

    policies = [load_policy(folder) for folder in options.dagger.policy]
    recording = options.recording.seen_by(policies[0].spec)
    round_ = rounds.Round(options.agent, recording, options.dagger, options.num_episodes)
    labels = {"chunk_size": policies[0].chunk_size, "label_every": round_.label_every}
    make_env = partial(sim_envs.make_with_expert, recording.task, recording.style, **labels, **recording.view)
    print(rounds.record(round_, policies, make_env, options.directory, options.workers))


def record_human(options: Options) -> None:
    """You drive, perhaps with leader arms, or correct a policy. Page and rendering run in processes of their own."""
    recording, style, agent = options.recording, "operator", None
    if options.dagger.policy:
        importlib.import_module("torch._dynamo")  # loads Triton, which must not load after the simulator
        from act.policies.base.storage import load_policy

        policy = load_policy(options.dagger.policy[0])
        agent = PolicyAgent(policy, options.dagger.n_action_steps, options.dagger.ensemble_m)
        recording = replace(recording.seen_by(policy.spec), seed=options.dagger.first_seed(recording))
        style = " ".join(["operator", *options.dagger.digests()])
    from real_envs.puppeteer import leader_operator
    from sim_envs.kinematics import Kinematics
    from sim_envs.teleop.gamepad import find_gamepad, with_gamepad
    from sim_envs.teleop.link import PageProcess
    from sim_envs.teleop.messages import PageConfig
    from sim_envs.teleop.session import Session, SessionPlan

    page, gamepad = options.page, find_gamepad(options.page.gamepad)
    make_env: Any = partial(sim_envs.make, recording.task, **recording.view)
    env = make_env()
    env.env_spec = spec = replace(env.env_spec, episode_len=OPERATOR_STEPS)
    address, gated = {"host": page.host, "port": page.port, "token": page.token}, agent is not None
    config = PageConfig(recording.task, env.task.scene, spec.stage_names, recording.cameras, gated, **address)
    with (
        DeferredRendering(recording, style, make_env, options.directory) as episodes,
        leader_operator(options.leader_files, Kinematics) as operator,
        PageProcess(config) as process,
        with_gamepad(process, gamepad) as link,
    ):
        seeds = range(episodes.next_seed, DEMONSTRATION_SEEDS.stop)
        plan = SessionPlan(seeds, options.num_episodes, episodes.saved, keep_failures=gated or recording.keep_failures)
        session = Session(env, link, agent=agent, operator=operator, plan=plan, previews=recording.cameras)
        session.observers.append(episodes.recorder(spec, session if agent else None))
        pads = f"; {gamepad.name} drives, too" if gamepad else ""
        print(f"open {process.url}{pads}\nCtrl-C ends the session; the same command continues", flush=True)
        with suppress(KeyboardInterrupt):
            session.run()
        print(session.pace)
    print(f"{episodes.n_rendered()} episodes in {options.directory}")


RECORD = {"expert": record_expert, "human": record_human, "leader": record_human}  # others: record_round

if __name__ == "__main__":
    sys.exit(main())
