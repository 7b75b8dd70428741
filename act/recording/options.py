"""The options of record_sim_episodes.py, in titled groups, and which of them have an effect beside which others."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from act.command_line import refuse_without_effect
from act.recording.attempts import Recording
from act.recording.rounds import RoundOptions
from act.recording.teleoperated import PageOptions
from act.workers import available_cores

_EPISODES = ("agent", "num_episodes", "raw", "jpeg_quality")
_POLICY = ("policy", "round", "n_action_steps", "ensemble_m")
_VARIETY = ("dart_noise", "spread", "randomize")
_PAGE = ("host", "port", "token", "gamepad")
# What is recorded -> the flags that have an effect then. task_name, dataset_dir, seed and quality always have one.
HAS_EFFECT = {
    "--agent expert": (*_EPISODES, "cameras", "image_size", "workers", "ray", "keep_failures", *_VARIETY),
    "--agent human": (*_EPISODES, "cameras", "image_size", "keep_failures", "policy", *_PAGE),
    "--agent human --policy RUN": (*_EPISODES, *_POLICY, *_PAGE),
    "--agent leader": (*_EPISODES, "cameras", "image_size", "keep_failures", "leaders", *_PAGE),
    "--agent dagger": (*_EPISODES, *_POLICY, "workers", "beta_schedule", "label_every", "to_the_end"),
    "--agent hg_dagger": (*_EPISODES, *_POLICY, "workers", "gate", "take_over", "hand_back"),
    "--random_scenes N": ("cameras", "image_size", "workers", "randomize"),
}


@dataclass(frozen=True)
class Options:
    """What the program shall record, and where; nested dataclasses are the titled groups of --help."""

    recording: tyro.conf.OmitArgPrefixes[Recording] = field(default_factory=Recording)
    dataset_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder of the episodes; data/<task_name> if not given."""
    num_episodes: int = 50
    """Number of episodes that the folder holds in the end."""
    workers: int = available_cores()
    """Number of simulating processes; the files do not depend on it."""
    ray: Annotated[str, tyro.conf.arg(metavar="ADDRESS")] = ""
    """Record on all cores of a Ray cluster: auto, HOST:PORT of its head, or local; see docs/cluster.md."""
    agent: Literal["expert", "human", "leader", "dagger", "hg_dagger"] = "expert"
    """Who drives: the scripted expert; you, in the browser (with --policy, the policy drives and you correct it); you,
    with two leader arms; expert and policy in turns (DAgger); the policy, with a simulated operator who takes over
    (HG-DAgger)."""
    leaders: tuple[Path, Path] = (Path("left_leader.yaml"), Path("right_leader.yaml"))
    """Descriptions of the left and the right leader arm, written by `python -m real_envs.calibrate`."""
    random_scenes: int = 0
    """Instead of episodes, record this many labelled random scenes into DIR/scenes.hdf5, for `act pretrain`."""
    dagger: tyro.conf.OmitArgPrefixes[RoundOptions] = field(default_factory=RoundOptions)
    page: tyro.conf.OmitArgPrefixes[PageOptions] = field(default_factory=PageOptions)

    @property
    def directory(self) -> Path:
        round_ = f"_{self.agent}_round{self.dagger.round}" if self.dagger.policy else ""
        return self.dataset_dir or Path("data") / (self.recording.task_name + round_)

    @property
    def leader_files(self) -> tuple[Path, ...]:
        """The descriptions of the leader arms that drive; none without --agent leader."""
        return self.leaders if self.agent == "leader" else ()

    @property
    def case(self) -> str:
        """The line of `HAS_EFFECT` that applies."""
        if self.random_scenes:
            return "--random_scenes N"
        return f"--agent {self.agent}" + " --policy RUN" * (self.agent == "human" and bool(self.dagger.policy))

    def check(self) -> None:
        """Raises ValueError for a flag that is wrong, or that has no effect beside the others."""
        for group in ("", "recording", "dagger", "page"):
            given, default = (getattr(options, group, options) for options in (self, Options()))
            refuse_without_effect(given, default, self._conditions())
        if self.num_episodes < 1 or self.workers < 1:
            raise ValueError(f"--num_episodes {self.num_episodes} --workers {self.workers}: both must be at least 1")
        if self.random_scenes < 0 or (self.random_scenes and not self.recording.cameras):
            raise ValueError(f"--random_scenes {self.random_scenes}: give a number of scenes and at least one camera")
        if self.directory.exists() and not self.directory.is_dir():
            raise ValueError(f"--dataset_dir {self.directory} is a file; give a folder")
        self.recording.check(self.num_episodes)
        self.dagger.check(self.agent, self.recording, self.num_episodes)
        self.page.check()

    def _conditions(self) -> dict[str, str]:
        """Flags that have no effect beside the others -> when they would have one."""
        case, conditions = self.case, {}
        for name in {name for names in HAS_EFFECT.values() for name in names} - {*HAS_EFFECT[case]}:
            cases = " or ".join(other for other, names in HAS_EFFECT.items() if name in names)
            conditions[name] = "without --random_scenes" if self.random_scenes else f"with {cases}"
        if self.recording.raw:
            conditions["jpeg_quality"] = "without --raw"
        if self.ray:
            conditions["workers"] = "without --ray"
        if "cameras" in HAS_EFFECT[case] and not self.recording.cameras:
            conditions |= dict.fromkeys(("image_size", "quality", "raw", "jpeg_quality"), "with at least one camera")
        return conditions
