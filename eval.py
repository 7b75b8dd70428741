"""Evaluates a trained policy: checkpoint -> agent -> seeded rollouts -> results.json, videos, report.html.

    python eval.py runs/demo                          50 test rollouts, chunk by chunk
    python eval.py runs/demo --modes chunk ensemble --num_rollouts 200
    python eval.py --ckpt_dir runs/demo --task_name sim_transfer_cube_scripted --temporal_agg

Interrupted and called again with the same settings it goes on where it stopped.
"""

import argparse
import importlib
import shutil
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import gymnasium

from act.cluster import Waves, connected
from act.evaluation.evaluate import EpisodeLog, Summary, evaluate, query_latency, write_results
from act.evaluation.report import write_report
from act.evaluation.video import VideoWriter, video_path
from act.files import lock_folder
from act.run_folder import trained_on
from act.runtime.agents import PolicyAgent
from act.runtime.envs import Envs, ParallelEnvs
from act.seeds import SEED_SETS
from act.serving.loading import is_address, open_run
from act.types import EnvSpec, task_of
from act.workers import available_cores

ENVS_PER_CORE = {True: 8, False: 50}  # at most, with cameras and without; they share one query of the policy
VIDEO_CAMERAS, VIDEO_SIZE = ("cam_high", "angle"), (240, 320)  # for policies that see no images
# Flags of the original program that say nothing here: the checkpoint knows.
ORIGINAL_FLAGS = ("policy_class", "kl_weight", "chunk_size", "hidden_dim", "batch_size", "dim_feedforward")
ORIGINAL_FLAGS += ("num_epochs", "lr", "seed")


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        run_evaluation(options)
    except (ValueError, OSError) as error:  # a connection is one, too
        print(f"eval: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\neval: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("run", nargs="?", type=Path, help="folder of the training run")
    add("--ckpt_dir", type=Path, help="the same, as the original names it")
    add("--task_name", help="task to evaluate in (default: the one trained for)")
    add("--num_rollouts", type=int, default=50, help="how many; fewer than 200 are called preliminary")
    add("--seed_set", choices=tuple(SEED_SETS), default="test", help="validation for choosing, test for reporting")
    add("--modes", nargs="+", choices=("chunk", "ensemble"), help="how chunks are executed (default: chunk)")
    add("--temporal_agg", action="store_true", help="the original's name of --modes ensemble")
    add("--n_action_steps", type=int, help="control steps between queries (default: a whole chunk; 1 in an ensemble)")
    add("--ensemble_m", type=float, default=0.01, help="weights exp(-m i) of overlapping chunks, i = 0 the oldest")
    add("--num_envs", type=int, help="environments side by side (default: by cores and rollouts)")
    add("--num_workers", type=int, default=available_cores(), help="processes that simulate")
    add("--ray", default="", metavar="ADDRESS", help="run on a Ray cluster: auto, HOST:PORT, local; docs/cluster.md")
    add("--videos", type=int, default=4, help="film the first so many rollouts")
    add("--video_every", type=int, default=2, help="control steps per frame: 2 is 25 frames per second")
    add("--device", help="cpu or cuda (default: cuda when there is one)")
    add(
        "--engine",
        default="torch",
        help="torch; onnx, int8: what act export wrote; ws://HOST:PORT: act serve",
    )
    add("--out", type=Path, help="folder for results (default: the run's folder)")
    for switch in ("--eval", "--onscreen_render"):
        add(switch, action="store_true", help=argparse.SUPPRESS)
    for flag in ORIGINAL_FLAGS:
        add(f"--{flag}", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.onscreen_render:
        print("--onscreen_render is ignored: rollouts run without a window", file=sys.stderr)
    options.run = options.run or options.ckpt_dir
    options.modes = options.modes or (["ensemble"] if options.temporal_agg else ["chunk"])
    if options.run is None:
        parser.error("which run? Give its folder: python eval.py runs/demo")
    if options.ray and is_address(options.engine):
        parser.error(f"--engine {options.engine} and --ray do not go together: leave one of them out")
    for name in ("num_rollouts", "num_workers", "video_every"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} {getattr(options, name)}: must be at least 1")
    if options.videos < 0:
        parser.error(f"--videos {options.videos}: must be 0 or more")
    return options


def run_evaluation(options: argparse.Namespace) -> None:
    """Loads the policy once, evaluates every mode, and writes the report of all that was ever evaluated here."""
    trained = task_of(trained_on(options.run))
    policy, about, weights = open_run(options.run, options.engine, options.device)
    task = task_of(options.task_name or trained)
    cameras, image_size = cameras_for(policy, options.videos)
    # By a name that other machines know, too: theirs is not the __main__ of this program.
    make = partial(importlib.import_module("eval").make_env, task, cameras, image_size)
    num_envs = options.num_envs or default_num_envs(options.num_rollouts, options.num_workers, bool(cameras))
    out = options.out or options.run
    with connected(options.ray), ParallelEnvs(make, num_envs, options.num_workers) as envs:
        check_objects(policy, envs.env_spec, trained)
        device = str(getattr(policy, "device", "cpu"))
        parallel = (options.num_workers, weights, device, options.engine)
        waves = Waves(options.run, make, num_envs, *parallel) if options.ray else None
        for mode in options.modes:
            ensemble_m = options.ensemble_m if mode == "ensemble" else None
            agent = PolicyAgent(policy, options.n_action_steps, ensemble_m)
            settings = describe(options, about, weights, task, mode, agent)
            settings |= {"cameras": cameras, "image_size": image_size} if policy.needs_images else {}
            folder = out / "eval" / folder_name(options, mode, "" if task == trained else task)
            with lock_folder(folder, "evaluated into", "--out"):
                summary = run_mode(envs, waves, agent, settings, options, folder)
            print_summary(summary, mode)
    write_report([out], out / "report.html")
    print(f"wrote {out / 'report.html'}")


def run_mode(
    envs: Envs,
    waves: Waves | None,
    agent: PolicyAgent,
    settings: Mapping[str, Any],
    options: argparse.Namespace,
    folder: Path,
) -> Summary:
    """Rollouts of one mode: the filmed ones first, in a wave of their own, because rendering for a video costs time.

    With `waves` the others run on a cluster. Rollouts that an earlier call had done beyond these are counted, too.
    """
    log = EpisodeLog(folder / "episodes.jsonl", {k: v for k, v in settings.items() if k != "run"})
    if not log.episodes:
        shutil.rmtree(folder / "videos", ignore_errors=True)  # of other settings
    seeds = SEED_SETS[options.seed_set]
    there = list(takewhile(log.__contains__, seeds))  # without a gap: what was done first after a stop ended early
    seeds = list(seeds[: max(options.num_rollouts, len(there))])
    if len(seeds) > options.num_rollouts:
        print(f"{len(seeds)} rollouts are there already, and all of them count")
    unfilmed = [s for s in seeds[: options.videos] if not video_path(folder / "videos", envs.env_spec, s).exists()]
    film(envs, agent, [seed for seed in unfilmed if seed not in log], options, folder, log)
    film_again(envs, agent, [seed for seed in unfilmed if seed in log], options, folder, log)
    if waves is not None:
        waves.fill(log, seeds, agent.n_action_steps, settings["ensemble_m"])
    summary = evaluate(envs, agent, seeds, log=log)
    single = query_latency(agent.policy, envs.reset(seeds[:1], images_due=agent.policy.needs_images)[0][0])
    execution = {"num_envs": envs.num_envs, "num_workers": options.num_workers}
    write_results(folder / "results.json", summary, {**settings, **execution}, single)
    return summary


def film(
    envs: Envs, agent: PolicyAgent, seeds: Sequence[int], options: argparse.Namespace, folder: Path, log: EpisodeLog
) -> None:
    """A video of each of these rollouts."""
    if not seeds:
        return
    writer = VideoWriter(folder / "videos", envs.env_spec, len(seeds), every=options.video_every)
    try:
        print(f"filming {len(seeds)} rollouts")
        evaluate(envs, agent, seeds, [writer], log=log)
    finally:
        writer.close()


def film_again(
    envs: Envs, agent: PolicyAgent, seeds: Sequence[int], options: argparse.Namespace, folder: Path, log: EpisodeLog
) -> None:
    """Videos of rollouts that are in `log`; one that goes another way in this company of others is not kept."""
    again = EpisodeLog()
    film(envs, agent, seeds, options, folder, again)
    for seed in seeds:
        now, then = again.episodes[seed].result, log.episodes[seed].result
        if (now.max_reward, now.strict_success) != (then.max_reward, then.strict_success):
            video_path(folder / "videos", envs.env_spec, seed).unlink()
            print(
                f"no video of seed {seed}: filmed beside others it reached {now.max_reward:g}, not {then.max_reward:g}"
            )


def engine_name(options: argparse.Namespace) -> str:
    """As results and folders call it: torch, onnx, int8 or remote."""
    return "remote" if is_address(options.engine) else options.engine


def make_env(task: str, cameras: tuple[str, ...], image_size: tuple[int, int]) -> gymnasium.Env:
    """An environment; only the simulating processes call this.

    Mesa's LLVM, which sim_envs loads, and Triton's, which torch loads, crash one process that loads them in this order.
    """
    import sim_envs

    return sim_envs.make(task, cameras=cameras, image_size=image_size)


def check_objects(policy: Any, env_spec: EnvSpec, trained: str) -> None:
    """ValueError when a policy that sees object poses saw those of other objects."""
    seen, there = policy.spec.env_state_dim, 7 * len(env_spec.objects)
    if env_spec.objects and seen not in (0, there):
        raise ValueError(
            f"the policy sees {seen} numbers of object poses, {env_spec.task_name} has {there}: "
            f"leave --task_name out, or give one of {trained}"
        )


def cameras_for(policy: Any, videos: int) -> tuple[tuple[str, ...], tuple[int, int]]:
    """What the policy was trained to see; something to film when it sees nothing and videos are wanted."""
    if policy.needs_images:
        return tuple(policy.spec.cameras), tuple(policy.spec.recorded_size or policy.spec.image_size)
    return (VIDEO_CAMERAS if videos else ()), VIDEO_SIZE


def default_num_envs(num_rollouts: int, num_workers: int, renders: bool) -> int:
    """As many as the cores feed well, evened out so that the last wave is as full as the others."""
    waves = -(-num_rollouts // (ENVS_PER_CORE[renders] * num_workers))
    return -(-num_rollouts // waves)


def describe(
    options: argparse.Namespace, about: Mapping[str, Any], weights: str, task: str, mode: str, agent: PolicyAgent
) -> dict[str, Any]:
    """What decides the outcome of a rollout (besides its seed) and what a reader must know of the policy."""
    train = about["train"]
    return {
        "run": str(options.run),
        "policy": about["policy"],
        "preset": train.get("preset"),
        "backbone_weights": about["backbone_weights"],
        "trained_on": train["task_name"],
        "demo_style": about.get("demo_style", ""),
        "step": about["step"],
        "train_seed": about["seed"],
        "train_commit": about["git"],
        "weights": weights,
        "task": task,
        "mode": mode,
        "chunk_size": agent.policy.chunk_size,
        "n_action_steps": agent.n_action_steps,
        "ensemble_m": options.ensemble_m if mode == "ensemble" else None,
        "seed_set": options.seed_set,
        "device": str(getattr(agent.policy, "device", "cpu")),
        **({} if options.engine == "torch" else {"engine": engine_name(options)}),
        **({"server": agent.policy.about} if is_address(options.engine) else {}),  # type: ignore[attr-defined]
    }


def folder_name(options: argparse.Namespace, mode: str, other_task: str = "") -> str:
    every = f"_every{options.n_action_steps}" if options.n_action_steps else ""
    weight = f"_m{options.ensemble_m:g}" if mode == "ensemble" and options.ensemble_m != 0.01 else ""
    engine = "" if options.engine == "torch" else f"_{engine_name(options)}"
    task = f"_{other_task}" if other_task else ""
    return f"{options.seed_set}_{mode}{every}{weight}{engine}{task}"


def print_summary(summary: Summary, mode: str) -> None:
    for rate in summary.stages:
        print(f"  {rate.name:24s} {rate}")
    print(f"  {'strict success':24s} {summary.strict_success}")
    speed = f"{summary.rollouts_per_min:.1f} rollouts/min"
    print(f"{mode}: success {summary.success}{' preliminary' if summary.preliminary else ''}, {speed}")


if __name__ == "__main__":
    sys.exit(main())
