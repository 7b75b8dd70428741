"""Records demonstrations of an expert: task + agent + recorder -> DIR/episode_<i>.hdf5, resumable, reproducible.

    python record_sim_episodes.py --task_name sim_transfer_cube_scripted --dataset_dir data/cube --num_episodes 50
    python record_sim_episodes.py --task_name sim_transfer_cube_scripted --random_scenes 3000 --image_size 240 320
    python record_sim_episodes.py --task_name sim_transfer_cube_scripted --agent dagger --policy RUN --round 2
    python record_sim_episodes.py --task_name sim_transfer_cube_human --agent human     # you, in the browser

How attempts become numbered files is act/recording's business; here an environment is introduced to an expert.
"""

import dataclasses
import hashlib
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import gymnasium
import tyro

from act.cluster import RayWorkers, connected
from act.data.episodes import find_episodes, read_episode
from act.data.images import JPEG_QUALITY
from act.data.labels import count_labels
from act.files import lock_folder
from act.recording.attempts import Recording, load_world
from act.recording.demonstrations import record
from act.recording.rounds import dagger_rows, gated_rows, missing_seeds, record_round
from act.recording.scenes import Sampler, SceneRecording, record_scenes
from act.recording.teleoperated import DeferredRendering
from act.run_folder import trained_on
from act.runtime.agents import PolicyAgent
from act.runtime.dagger import BetaSchedule, GatedAgent, MixtureAgent
from act.runtime.envs import ParallelEnvs
from act.runtime.operators import DistanceToExpert, EnsembleDisagreement, SimulatedOperator
from act.seeds import DEMONSTRATION_SEEDS, SEEDS_PER_ROUND
from act.types import Agent, task_of
from act.workers import available_cores

STYLES = ("scripted", "human")
MAX_SEED = DEMONSTRATION_SEEDS.stop
OPERATOR_STEPS = 3000  # control steps that a human's episode may take: a minute
ENVS_PER_WORKER = 8  # at most, that share one query of a policy


# ---- the world, looked up by module name in workers (attempts.World)
def available() -> tuple[str, ...]:
    """Names of the tasks, without importing the simulator, which must not precede torch."""
    tasks = Path(__file__).parent / "sim_envs" / "tasks"
    return tuple(sorted(module.name for module in pkgutil.iter_modules([str(tasks)])))


def make_env(task: str, cameras: tuple[str, ...], image_size: tuple[int, int], quality: str) -> gymnasium.Env:
    import sim_envs

    return sim_envs.make(task, cameras=cameras, image_size=image_size, quality=quality)


def make_expert(task: str, style: str, seed: int) -> Agent:
    from sim_envs import experts

    return experts.make_agent(task, style=style, seed=seed)


def make_env_with_expert(
    task: str,
    style: str,
    cameras: tuple[str, ...],
    image_size: tuple[int, int],
    quality: str,
    chunk_size: int,
    label_every: int,
) -> gymnasium.Env:
    import sim_envs
    from sim_envs.expert_labels import ExpertLabels

    env = sim_envs.make(task, cameras=cameras, image_size=image_size, quality=quality)
    return ExpertLabels(env, style, chunk_size, label_every)


def make_scene_sampler(task: str, cameras: tuple[str, ...], image_size: tuple[int, int], quality: str) -> Sampler:
    import sim_envs
    from sim_envs.random_scenes import SceneSampler

    return SceneSampler(sim_envs.load(task), cameras, image_size, quality)


@dataclass(frozen=True)
class Flags:
    """Records demonstrations of an expert as ALOHA HDF5 episodes; run it again to continue."""

    task_name: str = "sim_transfer_cube_scripted"
    """sim_<task>_<style>; style scripted (one clean way) or human (varied, as people are)."""
    dataset_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Where the episodes go; data/<task_name> if not given."""
    num_episodes: int = 50
    """Episodes the directory shall hold in the end."""
    image_size: tuple[int, int] = (480, 640)
    """Height and width [pixels]."""
    cameras: tuple[str, ...] = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")
    """Also top and angle, the paper's; none records joints and object poses only."""
    raw: bool = False
    """Raw images as in the original code (369 MB per camera and episode) instead of JPEG."""
    jpeg_quality: int = JPEG_QUALITY
    """1 to 100."""
    workers: int = available_cores()
    """Processes; the files do not depend on it."""
    ray: Annotated[str, tyro.conf.arg(metavar="ADDRESS")] = ""
    """Record on a Ray cluster, on all its cores: auto, HOST:PORT of its head, or local; docs/cluster.md."""
    seed: int = 0
    """Attempt k uses seed + k; below 1000000, where validation and testing begin."""
    keep_failures: bool = False
    """Keep every attempt, successful or not (attribute strict_success tells)."""
    dart_noise: float = 0.0
    """Standard deviation [rad] of noise on the executed arm targets; the recorded action stays clean. 0.0025 leaves
    the experts able; above 0.004 they fail."""
    quality: Literal["fast", "pretty"] = "fast"
    """Rendering: fast has no shadows, no multisampling, no scenery."""
    agent: Literal["expert", "human", "dagger", "hg_dagger"] = "expert"
    """Who drives: the expert; you, in the browser (with --policy: the policy, and you correct it); expert and policy
    in turns (DAgger); the policy, with a simulated operator who takes over."""
    policy: tuple[Path, ...] = ()
    """DAgger: the run that drives; --cameras and --image_size are then its own. Further runs only doubt (--gate)."""
    round: int = 1
    """DAgger: 1, 2, ...; decides beta, fresh seeds, and DIR if not given."""
    beta_schedule: str = "first"
    """DAgger: the expert's share by rounds: first (1, then 0), linear:N (0 from round N on), power:P, constant:P."""
    label_every: int = 20
    """DAgger: at every so many control steps the expert says what he would do next, a whole chunk; 0: never."""
    to_the_end: bool = False
    """DAgger: an expert who has begun to drive drives until the episode ends."""
    n_action_steps: int | None = None
    """DAgger: control steps between queries, as in eval.py."""
    ensemble_m: float | None = None
    """DAgger: act by ensembling, as in eval.py; 0.01 in the paper. Not where the expert has a share (beta)."""
    gate: Literal["distance", "ensemble"] = "distance"
    """HG-DAgger: what alarms the simulated operator: the distance to the expert's action, or doubt among policies."""
    take_over: float = 0.1
    """HG-DAgger: danger [rad] that makes him take over, 0.3 s later."""
    hand_back: float = 0.05
    """HG-DAgger: danger [rad] under which he hands back, after 0.5 s."""
    host: str = "127.0.0.1"
    """human: address of the page; any but the loopback needs a --token."""
    port: int = 8080
    """human: of the page."""
    token: str = ""
    """human: who opens the page must know it; 12 or more letters and digits."""
    gamepad: Annotated[str, tyro.conf.arg(metavar="auto|none|PATH")] = "auto"
    """human: of this machine, beside the page: the first there is, none, or /dev/input/js0."""
    random_scenes: int = 0
    """Instead of episodes: draw this many random scenes with labels into DIR/scenes.hdf5, for act.training.pretrain."""

    @property
    def directory(self) -> Path:
        return self.dataset_dir or Path("data") / (self.task_name + self._suffix)

    @property
    def _suffix(self) -> str:
        return f"_{self.agent}_round{self.round}" if self.policy else ""

    def check(self) -> None:
        if self.random_scenes < 0 or (self.random_scenes and not self.cameras):
            raise ValueError(f"--random_scenes {self.random_scenes}: give a number of scenes, and at least one camera")
        if len(set(self.cameras)) < len(self.cameras):
            raise ValueError(f"--cameras {' '.join(self.cameras)}: name each once")
        if self.num_episodes < 1 or self.workers < 1:
            raise ValueError(f"--num_episodes {self.num_episodes} --workers {self.workers}: both must be at least 1")
        if self.ray and (self.random_scenes or self.agent != "expert"):
            raise ValueError(f"--ray {self.ray} spreads an expert's episodes only: leave it out here")
        if min(self.image_size) < 1:
            raise ValueError(
                f"--image_size {self.image_size[0]} {self.image_size[1]}: give height and width, e.g. 480 640"
            )
        if not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"--jpeg_quality {self.jpeg_quality}: must be 1 to 100")
        if not 0 <= self.seed <= MAX_SEED - self.num_episodes:
            raise ValueError(
                f"--seed {self.seed} --num_episodes {self.num_episodes}: attempts have seeds from 0 to {MAX_SEED - 1}; "
                "larger ones validate and test policies"
            )
        if not 0 <= self.dart_noise < 1:
            raise ValueError(f"--dart_noise {self.dart_noise}: must be 0 to 1 rad, e.g. 0.0025")
        if self.agent != "human" and (self.agent == "expert") == bool(self.policy):
            raise ValueError(f"--agent {self.agent} and --policy RUN do not go together: dagger and hg_dagger need one")
        if self.policy and self.dart_noise:
            raise ValueError(
                f"--dart_noise {self.dart_noise} disturbs an expert; a policy errs by itself: leave it out"
            )
        last_seed = self.seed + (self.round + 1) * SEEDS_PER_ROUND if self.policy else 0
        if self.policy and self.num_episodes > SEEDS_PER_ROUND:
            raise ValueError(f"--num_episodes {self.num_episodes}: a round has at most {SEEDS_PER_ROUND}")
        if self.round < 1 or self.label_every < 0 or last_seed > MAX_SEED:
            raise ValueError(
                f"--round {self.round} --label_every {self.label_every} --seed {self.seed}: rounds count from 1, "
                f"and every round takes {SEEDS_PER_ROUND} seeds of the {MAX_SEED} there are"
            )
        if not 0 <= self.port < 2**16:
            raise ValueError(f"--port {self.port}: must be 0 (any) to {2**16 - 1}")
        if self.directory.exists() and not self.directory.is_dir():
            raise ValueError(f"--dataset_dir {self.directory} is a file; give a directory")


def split_task_name(task_name: str, tasks: Sequence[str]) -> tuple[str, str]:
    """("transfer_cube", "human") of "sim_transfer_cube_human"; ValueError lists what would have worked."""
    task, _, style = task_name.removeprefix("sim_").rpartition("_")
    if not task_name.startswith("sim_") or style not in STYLES or task not in tasks:
        known = ", ".join(f"sim_{task}_{style}" for task in tasks for style in STYLES)
        raise ValueError(f"no task {task_name!r}; there are {known}")
    return task, style


def check_trained(runs: Sequence[Path], task: str) -> None:
    """Raises ValueError when a run was trained on another task than the one it is to drive in."""
    for run in runs:
        trained = trained_on(run)
        if task_of(trained) != task:
            raise ValueError(f"{run} was trained on {trained}, which is not {task}: give --task_name {trained}")


def record_demonstrations(flags: Flags, task: str, style: str, world: str) -> int:
    directory = flags.directory
    shared = {f.name: getattr(flags, f.name) for f in dataclasses.fields(flags) if f.name in Recording.__annotations__}
    recording = Recording(task=task, style=style, world=world, **shared)
    try:
        with connected(flags.ray):
            hire = RayWorkers if flags.ray else None
            progress = record(recording, directory, flags.num_episodes, flags.workers, hire)
    except KeyboardInterrupt:
        whole = len(find_episodes(directory)) if directory.is_dir() else 0
        print(f"\nstopped; {whole} whole episodes in {directory}; the same command continues", file=sys.stderr)
        return 130
    rate = 100 * progress.successes / progress.decided
    told = f"the {style} expert succeeded in {progress.successes} of {progress.decided} attempts ({rate:.1f} %)"
    print(f"{progress.kept} episodes in {directory}; {told}")
    return 0


def record_policy(flags: Flags, task: str, style: str, world: str) -> int:
    """A round of DAgger. The policy lives here; sim_envs, which must not precede torch, in other processes."""
    from act.policies.base.storage import load_policy

    policies = [load_policy(run) for run in flags.policy]
    spec = policies[0].spec
    gated = flags.agent == "hg_dagger"
    label_every = 0 if gated else flags.label_every
    first = flags.seed + SEEDS_PER_ROUND * flags.round
    seeds = range(first, first + flags.num_episodes)
    todo = missing_seeds(flags.directory, seeds)
    agent = make_gated(flags, policies) if gated else make_mixture(flags, policies[0], todo)
    size = spec.recorded_size or spec.image_size
    make = partial(
        load_world(world).make_env_with_expert,
        *(task, style, tuple(spec.cameras), tuple(size), flags.quality, policies[0].chunk_size, label_every),
    )
    attrs = {"source": flags.agent, "recording": describe(flags)}
    rows = gated_rows(agent) if isinstance(agent, GatedAgent) else dagger_rows(agent)
    try:
        envs_per_worker = 1 if flags.raw else ENVS_PER_WORKER  # a raw episode of four cameras is 1.5 GB until written
        with ParallelEnvs(make, min(len(seeds), envs_per_worker * flags.workers), flags.workers) as envs:
            form = {"compress": not flags.raw, "jpeg_quality": flags.jpeg_quality}
            paths = record_round(envs, agent, rows, flags.directory, seeds, attrs, **form)
    except KeyboardInterrupt:
        print(f"\nstopped; {flags.directory} keeps its whole episodes; the same command continues", file=sys.stderr)
        return 130
    episodes = [read_episode(path) for path in paths]
    successes = sum(episode.attrs["success"] for episode in episodes)
    labels = sum(count_labels(episode) for episode in episodes)
    print(f"{len(paths)} episodes in {flags.directory}, {successes} successful; the expert gave {labels} actions")
    return 0


def make_mixture(flags: Flags, policy: Any, seeds: Sequence[int]) -> MixtureAgent:
    beta = BetaSchedule.parse(flags.beta_schedule)(flags.round)
    return MixtureAgent(PolicyAgent(policy, flags.n_action_steps, flags.ensemble_m), beta, seeds, flags.to_the_end)


def make_gated(flags: Flags, policies: Sequence[Any]) -> GatedAgent:
    score = DistanceToExpert() if flags.gate == "distance" else EnsembleDisagreement(policies)
    operator = SimulatedOperator(score, flags.take_over, flags.hand_back)
    return GatedAgent(policies[0], operator, flags.n_action_steps, flags.ensemble_m)


def describe(flags: Flags) -> dict[str, Any]:
    """What decides the content of a round, JSON-able; policies by their weights."""
    names = ["agent", "task_name", "seed", "round", "n_action_steps", "ensemble_m", "quality", "raw", "jpeg_quality"]
    names += (
        ["beta_schedule", "label_every", "to_the_end"]
        if flags.agent == "dagger"
        else ["gate", "take_over", "hand_back"]
    )
    weights = [(run / "policy.safetensors").read_bytes() for run in flags.policy]
    digests = [hashlib.sha256(data).hexdigest()[:16] for data in weights]
    return {**{name: getattr(flags, name) for name in names}, "policy": digests}


def record_human(flags: Flags, task: str, _: str, world: str) -> int:
    """You drive, or with --policy correct it. The 50 Hz loop runs here; the page and the drawing in other processes."""
    agent, digests = None, []
    if flags.policy:
        importlib.import_module("torch._dynamo")  # loads Triton, where there is one: never after the simulator
        from act.policies.base.storage import load_policy

        policy = load_policy(flags.policy[0])
        size = policy.spec.recorded_size or policy.spec.image_size
        flags = dataclasses.replace(flags, cameras=tuple(policy.spec.cameras), image_size=tuple(size))
        agent = PolicyAgent(policy, flags.n_action_steps, flags.ensemble_m)
        digests = describe(flags)["policy"]
    from sim_envs.teleop.gamepad import find_gamepad, with_gamepad
    from sim_envs.teleop.link import PageProcess
    from sim_envs.teleop.messages import PageConfig
    from sim_envs.teleop.session import Session, SessionPlan

    gamepad = find_gamepad(flags.gamepad)
    seed = flags.seed + SEEDS_PER_ROUND * flags.round * bool(agent)
    shared = {f.name: getattr(flags, f.name) for f in dataclasses.fields(flags) if f.name in Recording.__annotations__}
    style = " ".join(["operator", *digests])  # never mixed with another policy's, or an expert's
    recording = Recording(**{**shared, "seed": seed, "dart_noise": 0.0}, task=task, style=style, world=world)
    env: Any = load_world(world).make_env(task, flags.cameras, flags.image_size, flags.quality)
    env.env_spec = spec = dataclasses.replace(env.env_spec, episode_len=OPERATOR_STEPS)
    address = {"host": flags.host, "port": flags.port, "token": flags.token}
    about = PageConfig(task, env.task.scene, spec.stage_names, flags.cameras, agent is not None, **address)
    with DeferredRendering(recording, flags.directory) as book, PageProcess(about) as page:
        keep = flags.keep_failures or agent is not None  # corrections teach, whatever came of them
        plan = SessionPlan(range(book.next_seed, MAX_SEED), flags.num_episodes, book.saved, keep)
        with with_gamepad(page, gamepad) as link:
            session = Session(env, link, agent=agent, plan=plan, previews=flags.cameras)
            session.observers.append(book.recorder(spec, "operator", session if agent is not None else None))
            print(f"open {page.url}{f'; {gamepad.name} drives, too' if gamepad else ''}")
            print("Ctrl-C ends; the same command continues", flush=True)
            with suppress(KeyboardInterrupt):
                session.run()
        print(session.pace)
    print(f"{book.drawn()} episodes in {flags.directory}")
    return 0


def record_random_scenes(flags: Flags, task: str, world: str) -> int:
    path = flags.directory / "scenes.hdf5"
    recording = SceneRecording(task, flags.cameras, flags.image_size, flags.quality, flags.seed, world)
    try:
        record_scenes(recording, path, flags.random_scenes, flags.workers)
    except KeyboardInterrupt:
        print("\nstopped; scenes are kept once all are drawn", file=sys.stderr)
        return 130
    print(f"{flags.random_scenes} labelled scenes of {task} in {path}; python -m act pretrain {path} learns from them")
    return 0


def main(argv: Sequence[str] | None = None, world: str = "record_sim_episodes") -> int:
    """0: recorded; 1: failed on the way; 2: not asked properly; 130: Ctrl-C, but for a sitting, which ends so."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if "--onscreen_render" in argv:  # a flag of the original program
        argv.remove("--onscreen_render")
        print("--onscreen_render is ignored: recording runs without a window", file=sys.stderr)
    flags = tyro.cli(Flags, args=argv, use_underscores=True)
    try:
        flags.check()
        task, style = split_task_name(flags.task_name, load_world(world).available())
        if flags.random_scenes:  # one file, whole or not at all: it needs no lock
            return record_random_scenes(flags, task, world)
        record_with = {"expert": record_demonstrations, "human": record_human}.get(flags.agent, record_policy)
        check_trained(flags.policy, task)
        with lock_folder(flags.directory, "recorded into", "--dataset_dir"):
            return record_with(flags, task, style, world)
    except KeyboardInterrupt:
        print("\nstopped; the same command continues", file=sys.stderr)
        return 130
    except (ValueError, RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, ValueError) else 1


if __name__ == "__main__":
    sys.exit(main())
