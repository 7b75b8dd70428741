"""One evaluation: seeded rollouts of a policy that is executed in one way -> results, a log, videos of the first ones.

    plan = RolloutPlan(num_rollouts=200, videos=0)
    evaluation = EvaluationRun(envs, policy, Execution("chunk"), plan, RunFolder("runs/demo").evaluation("test_chunk"))
    print(evaluation.run(settings, num_workers=2))

The folder holds episodes.jsonl, results.json and videos/. A second run into it continues the first one when the
settings are the same; otherwise the old log is set aside.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

from act.command_line import refuse_without_effect
from act.evaluation.evaluate import EpisodeLog, Summary, evaluate, query_latency, write_results
from act.evaluation.execution import Execution
from act.evaluation.video import VideoWriter, video_path
from act.runtime.agents import DescribedPolicy, PolicyAgent
from act.runtime.envs import Envs
from act.seeds import SEED_SETS
from act.types import EnvSpec

SeedSet = Literal["test", "validation"]
ENVS_PER_CORE = {True: 8, False: 50}  # at most, with cameras and without; they share one query of the policy
VIDEO_CAMERAS, VIDEO_SIZE = ("cam_high", "angle"), (240, 320)  # for policies that see no images

# Adds the rollouts of these seeds to the log, on other machines; act.cluster.Waves.fill is one.
FillLog = Callable[[EpisodeLog, Sequence[int], Execution], None]


@dataclass(frozen=True)
class RolloutPlan:
    """Which rollouts are run, and which of them are recorded as video."""

    num_rollouts: int = 50
    """Number of rollouts; results of fewer than 200 are called preliminary."""
    seed_set: SeedSet = "test"
    """Seeds of the starts: validation to choose a checkpoint or a setting, test for the number that is reported."""
    videos: int = 4
    """Number of rollouts to record as video, the first ones."""
    video_every: int = 2
    """Control steps per video frame: 2 is 25 frames per second."""

    def check(self) -> None:
        """Raises ValueError for a number that is too small, and for a number that has no effect."""
        for name, least in (("num_rollouts", 1), ("videos", 0), ("video_every", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name} {getattr(self, name)}: must be at least {least}")
        if not self.videos:
            refuse_without_effect(self, RolloutPlan(), {"video_every": "with --videos 1 or more"})

    @property
    def seeds(self) -> range:
        """All seeds of the family; rollouts use them from the first one on."""
        return SEED_SETS[self.seed_set]


@dataclass(frozen=True)
class EvaluationRun:
    """The rollouts of one policy, executed in one way, and the folder of their results."""

    envs: Envs
    policy: DescribedPolicy
    execution: Execution
    plan: RolloutPlan
    folder: Path

    @cached_property
    def agent(self) -> PolicyAgent:
        return self.execution.agent(self.policy)

    def run(self, settings: Mapping[str, Any], num_workers: int, fill_log: FillLog | None = None) -> Summary:
        """Runs the rollouts that the folder lacks and writes results.json about all that it holds then.

        settings: everything that decides the outcome of a rollout, besides its seed; `rollout_settings` and
            `policy_settings` make them. Only "run", the path of the policy, may differ when an evaluation continues.
        num_workers: processes that simulate; results.json names the number.
        fill_log: runs all rollouts but the recorded ones, e.g. on a cluster.
        """
        log = EpisodeLog(self.folder / "episodes.jsonl", {k: v for k, v in settings.items() if k != "run"})
        if not log.episodes:
            shutil.rmtree(self.videos, ignore_errors=True)  # they belong to other settings
        seeds = self._seeds(log)
        self._record_videos(seeds[: self.plan.videos], log)
        if fill_log is not None:
            fill_log(log, seeds, self.execution)
        summary = evaluate(self.envs, self.agent, seeds, log=log)
        start = self.envs.reset(seeds[:1], images_due=self.policy.needs_images)[0]
        machine = {"num_envs": self.envs.num_envs, "num_workers": num_workers}
        single_query = query_latency(self.policy, start[0])
        write_results(self.folder / "results.json", summary, {**settings, **machine}, single_query)
        return summary

    @property
    def videos(self) -> Path:
        return self.folder / "videos"

    def _seeds(self, log: EpisodeLog) -> list[int]:
        """The seeds to report on: as many as the plan wants, or more when the log already holds more.

        Only seeds without a gap before them count: after a stop, the log holds the episodes that ended early.
        """
        finished = len(list(takewhile(log.__contains__, self.plan.seeds)))
        if finished > self.plan.num_rollouts:
            print(f"{self.folder} already holds {finished} rollouts; all of them count")
        return list(self.plan.seeds[: max(self.plan.num_rollouts, finished)])

    def _record_videos(self, seeds: Sequence[int], log: EpisodeLog) -> None:
        """Videos of these rollouts, in waves of their own: rendering for a video would slow the others down."""
        missing = [seed for seed in seeds if not self._video(seed).exists()]
        if missing and not self._has_images(missing[0]):
            print(f"no videos: {self.envs.env_spec.task_name} has no images")
            return
        finished = [seed for seed in missing if seed in log]  # before `_record` adds to the log
        self._record([seed for seed in missing if seed not in log], log)
        self._record_again(finished, log)

    def _has_images(self, seed: int) -> bool:
        """Whether observations have images; asks an environment that names no cameras, as those of others do not."""
        return bool(self.envs.env_spec.cameras) or "images" in self.envs.reset([seed], images_due=True)[0][0]

    def _record(self, seeds: Sequence[int], log: EpisodeLog) -> None:
        if not seeds:
            return
        writer = VideoWriter(self.videos, self.envs.env_spec, len(seeds), every=self.plan.video_every)
        try:
            print(f"recording videos of {len(seeds)} rollouts")
            evaluate(self.envs, self.agent, seeds, [writer], log=log)
        finally:
            writer.close()

    def _record_again(self, seeds: Sequence[int], log: EpisodeLog) -> None:
        """Videos of rollouts that are in `log`; a video that shows another outcome than the log is deleted.

        The outcome may differ because a query answers for all environments at once, and rounding depends on how many.
        """
        again = EpisodeLog()
        self._record(seeds, again)
        for seed in seeds:
            shown, logged = again.episodes[seed].result, log.episodes[seed].result
            if (shown.max_reward, shown.strict_success) != (logged.max_reward, logged.strict_success):
                self._video(seed).unlink()
                print(
                    f"no video of seed {seed}: recorded beside other rollouts it reached reward {shown.max_reward:g}, "
                    f"not {logged.max_reward:g}"
                )

    def _video(self, seed: int) -> Path:
        return video_path(self.videos, self.envs.env_spec, seed)


def policy_settings(run: Path, about: Mapping[str, Any], weights: str) -> dict[str, Any]:
    """What results.json says of the policy. about: its policy.json; weights: the digest of its weights."""
    train = about["train"]
    return {
        "run": str(run),
        "policy": about["policy"],
        "preset": train.get("preset"),
        "backbone_weights": about["backbone_weights"],
        "trained_on": train["task_name"],
        "demo_style": about.get("demo_style", ""),
        "step": about["step"],
        "train_seed": about["seed"],
        "train_commit": about["git"],
        "weights": weights,
    }


def rollout_settings(
    task: str, execution: Execution, policy: DescribedPolicy, seed_set: str, engine: str = "torch"
) -> dict[str, Any]:
    """What results.json says of how the policy is run. engine: "torch", "onnx", "int8" or "remote" (a server)."""
    settings = {
        "task": task,
        "mode": execution.mode,
        "chunk_size": policy.chunk_size,
        "n_action_steps": execution.agent(policy).n_action_steps,
        "ensemble_m": execution.m,
        "seed_set": seed_set,
        "device": device_of(policy),
    }
    settings |= {} if engine == "torch" else {"engine": engine}
    settings |= {"server": policy.about} if engine == "remote" else {}  # type: ignore[attr-defined]
    view = {"cameras": policy.spec.cameras, "image_size": policy.spec.rendered_size}
    return settings | (view if policy.needs_images else {})


def device_of(policy: DescribedPolicy) -> str:
    """Where a policy computes, as torch names devices; "cpu" for a policy that does not say."""
    return str(getattr(policy, "device", "cpu"))


def cameras_for(policy: DescribedPolicy, videos: int) -> tuple[tuple[str, ...], tuple[int, int]]:
    """Cameras and image size (H, W) to render: the policy's; without any, two for the videos, if videos are wanted."""
    if policy.needs_images:
        return policy.spec.cameras, policy.spec.rendered_size
    return (VIDEO_CAMERAS if videos else ()), VIDEO_SIZE


def default_num_envs(num_rollouts: int, num_workers: int, renders: bool) -> int:
    """As many environments as the cores feed well, evened out so that the last wave is as full as the others."""
    waves = -(-num_rollouts // (ENVS_PER_CORE[renders] * num_workers))
    return -(-num_rollouts // waves)


def check_objects(policy: DescribedPolicy, env_spec: EnvSpec, trained: str) -> None:
    """Raises ValueError when the policy sees object poses, but of other objects than the environment has.

    trained: the task it was trained on.
    """
    seen, existing = policy.spec.env_state_dim, 7 * len(env_spec.objects)
    if env_spec.objects and seen not in (0, existing):
        raise ValueError(
            f"the policy sees {seen} numbers of object poses, {env_spec.task_name} has {existing}: "
            f"leave --task_name out (or --env), or give one of {trained}"
        )


def print_stages(summary: Summary, execution: Execution) -> None:
    """The rate of every stage, and how fast the rollouts were."""
    for rate in (*summary.stages, summary.strict_success):
        print(f"  {rate.name:24s} {rate}")
    label = " preliminary" if summary.preliminary else ""
    print(f"{execution}: success {summary.success}{label}, {summary.rollouts_per_min:.1f} rollouts/min")


def print_table(summaries: Mapping[Execution, Summary]) -> None:
    """One line per execution, to compare them."""
    width = max(len(str(execution)) for execution in summaries)
    print(f"\n{'execution':{width}s}  {'success':34s}  strict success")
    for execution, summary in summaries.items():
        print(f"{execution!s:{width}s}  {summary.success!s:34s}  {summary.strict_success}")
