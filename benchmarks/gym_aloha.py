"""Does a policy that was trained here win in gym-aloha, on the starts on which it wins here? Paired rollouts, a table.

    pip install -e '.[gym-aloha]'
    python -m benchmarks.gym_aloha runs/transfer_state runs/insertion_state
    python -m benchmarks.gym_aloha --record transfer_cube --num 50      # demonstrations in gym-aloha's own pictures
    python -m benchmarks.gym_aloha --scenes transfer_cube --num 3000    # labelled random scenes in them

A start is where a seed puts the objects here. In gym-aloha they are put there, too: at rest as here, or as high as it
drops them; and at rest, with the contacts of MuJoCo 3.7 (multiccd is off, as here). The same command continues.
"""

import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.utils import seeding
from tyro.conf import Positional

import sim_envs
from act.evaluation.evaluate import EpisodeLog, Summary, evaluate
from act.evaluation.execution import MODES, Execution, Mode
from act.evaluation.rates import Rate, compare_paired
from act.evaluation.run import policy_settings
from act.files import write_json
from act.interop.environments.opening import open_env
from act.provenance import provenance
from act.recording.attempts import Recording
from act.recording.recorder import EpisodeRecorder, is_strict_success
from act.recording.scenes import record_scenes
from act.run_folder import RunFolder
from act.runtime.envs import ParallelEnvs
from act.runtime.rollout import rollout
from act.seeds import TEST_SEEDS
from act.serving.loading import open_run
from act.types import task_of
from act.workers import available_cores
from benchmarks.programs import check_values, main
from sim_envs.random_scenes import SceneSampler

IDS = {"transfer_cube": "gym_aloha/AlohaTransferCube-v0", "insertion": "gym_aloha/AlohaInsertion-v0"}
HERE, AT_REST, FALLING = "here", "gym-aloha, at rest", "gym-aloha, falling"
PLACES = (HERE, AT_REST, FALLING, CONTACTS := "at rest, contacts of 3.7")
RESULTS = Path(__file__).parent / "results" / "gym_aloha.json"
DROP_HEIGHT = 0.05  # [m] of an object's origin at gym-aloha's own starts
VIEW: dict[str, Any] = {"cameras": ("top",), "image_size": (240, 320)}
NUM_ENVS, IMAGE_EVERY = 50, 4
AFTER = 80  # [control steps] of a recorded episode after success; more than a chunk of preset `fast` has
SOURCE = {"sim": True, "source": "scripted", "image_every": IMAGE_EVERY}


@dataclass(frozen=True)
class Options:
    """Which policies are evaluated in which executions, or which demonstrations are recorded."""

    runs: Annotated[tuple[Path, ...], Positional] = ()
    """Folders of training runs, one or several per task; policies that see object poses."""
    modes: tuple[Mode, ...] = MODES
    num: int = 200
    """Number of paired starts, of recorded episodes, or of random scenes."""
    record: str = ""
    """Instead, let the scripted expert of this task drive in gym-aloha, and record its camera `top`."""
    scenes: str = ""
    """Instead, write random scenes of this task as its camera `top` sees them, for `python -m act pretrain`."""
    out: Path = Path("runs/gym_aloha")
    """Folder of finished rollouts; recorded episodes and scenes go into OUT/TASK."""
    num_workers: int = available_cores()


class PlacedEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
    """gym-aloha whose objects start where the seed puts them here, or above, in one of PLACES."""

    def __init__(self, task: str, place: str, **view: Any):
        super().__init__(open_env(IDS[task], **view))
        self.task, self.falls = task, place == FALLING
        if place == CONTACTS:
            self.get_wrapper_attr("physics").model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_MULTICCD)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        assert seed is not None, "the start follows from the seed"
        return self.env.reset(seed=seed, options={"env_state": start_of(self.task, seed, self.falls)})


class GymAlohaRenderer:
    """Renders scenes of this simulator in gym-aloha's model of them, whose joints have the same order."""

    def __init__(self, task: str):
        self.env: Any = open_env(IDS[task], **VIEW)

    def render(self, data: mujoco.MjData, camera: str, appearance: Any) -> np.ndarray:
        self.env.physics.data.qpos[:] = data.qpos
        self.env.physics.forward()
        return self.env.physics.render(*VIEW["image_size"], camera_id=camera)


def make_sampler(task: str) -> SceneSampler:
    """A sampler of random scenes in the pictures of gym-aloha, whose camera `top` stands where it stands here."""
    return SceneSampler(sim_envs.load(task), **VIEW, renderer=GymAlohaRenderer(task))


class SlowCamera(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Images of every IMAGE_EVERY-th control step, repeated in between: train.py --frame_stride uses those alone."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        obs, info = self.env.reset(seed=seed, options=options)
        self._t, self._images = 0, obs["images"]
        return obs, info

    def step(self, action: Any) -> Any:
        self._t += 1
        inner: Any = self.env.unwrapped
        inner.images_due = self._t % IMAGE_EVERY == 0
        obs, *rest = self.env.step(action)
        self._images = obs.get("images", self._images)
        return obs | {"images": self._images}, *rest


class AfterSuccess(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Continues for AFTER control steps. gym-aloha ends at the first touch: the hand has closed for six steps only."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self._left = AFTER
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        obs, reward, terminated, truncated, info = self.env.step(action)
        self._left -= terminated or self._left < AFTER
        return obs, reward, False, truncated or self._left < 0, info


def held(cameras: tuple[str, ...] = ("top",), image_size: tuple[int, int] = VIEW["image_size"]) -> AfterSuccess:
    """For eval.py --env benchmarks.gym_aloha:held. The transfer, whose strict success is that of the last control step.

    gym-aloha counts a transfer when the left hand touches the cube above the table, be it open or closed.
    """
    return AfterSuccess(open_env(IDS["transfer_cube"], cameras, image_size))


def recorded_env(task: str) -> SlowCamera:
    """gym-aloha whose objects start where the seed puts them here, 3 cm higher, as gym-aloha's own do."""
    return SlowCamera(AfterSuccess(PlacedEnv(task, FALLING, **VIEW)))


def start_of(task: str, seed: int, falls: bool = False) -> np.ndarray:
    """The poses (7n,) of the objects with which the environment here begins an episode of this seed."""
    rng = seeding.np_random(seed)[0]
    poses = sim_envs.load(task)(rng).sample_objects(rng)
    poses[2::7] = DROP_HEIGHT if falls else poses[2::7]
    return poses


def measure(options: Options, run: Path) -> list[dict[str, Any]]:
    """Rolls out the policy of a run; returns a row of the table per execution and place."""
    task = task_of(RunFolder(run).task_name())
    if task not in IDS:
        raise ValueError(f"{run} was trained on {task}, which gym-aloha does not have; it has {', '.join(IDS)}")
    policy, about, weights = open_run(run)
    found: dict[tuple[Mode, str], Summary] = {}
    for place in PLACES:
        make = partial(sim_envs.make, task, cameras=()) if place == HERE else partial(PlacedEnv, task, place)
        with ParallelEnvs(make, NUM_ENVS, options.num_workers) as envs:
            for mode in options.modes:
                settings = {**policy_settings(run, about, weights), "run": "", "mode": mode, "place": place}
                log = EpisodeLog(options.out / f"{run.resolve().name}_{mode}_{PLACES.index(place)}.jsonl", settings)
                found[mode, place] = evaluate(envs, Execution(mode).agent(policy), TEST_SEEDS[: options.num], log=log)
    return [{"task": task, "mode": m, "place": p, **compared(found[m, HERE], found[m, p])} for m, p in found]


def compared(here: Summary, there: Summary) -> dict[str, Any]:
    """The success in a place, and its pairs with the rollouts here."""
    pairs = compare_paired(here.episodes, there.episodes)
    kept = Rate.of("of those won here", [True] * pairs.both + [False] * pairs.only_first)
    rates = {"success": asdict(there.success), "stages": [asdict(stage) for stage in there.stages]}
    return {**rates, "pairs": asdict(pairs), "kept": asdict(kept), "commits": there.rollout_commits}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = ["| task | execution | where | success | of those won here | only here | only there | p |", "|---" * 8]
    for row in rows:
        pairs = [row["pairs"]["only_first"], row["pairs"]["only_second"], f"{row['pairs']['p_value']:.2g}"]
        cells = [row["task"], row["mode"], row["place"], Rate(**row["success"]), Rate(**row["kept"]), *pairs]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def record(options: Options) -> None:
    """Adds episodes of seeds 0 to num - 1 that end in success, AFTER control steps after the first moment of it."""
    folder = options.out / options.record
    missing = [seed for seed in range(options.num) if not (folder / f"episode_{seed}.hdf5").exists()]
    make = partial(recorded_env, options.record)
    with ParallelEnvs(make, options.num_workers, options.num_workers) as envs:
        how: Any = {"keep": is_strict_success, "attrs": SOURCE}
        recorder = EpisodeRecorder(lambda result: folder / f"episode_{result.seed}.hdf5", envs.env_spec, **how)
        for result in rollout(envs, sim_envs.make_expert(options.record), [recorder], seeds=missing):
            print(f"seed {result.seed}: reward {result.max_reward:g} after {result.length} control steps")


def work(options: Options) -> None:
    check_values(options, ("num", "num_workers"), ("modes",))
    for flag, task in (("record", options.record), ("scenes", options.scenes)):
        if task not in ("", *IDS):
            raise ValueError(f"--{flag} {task}: choose one of {', '.join(IDS)}")
    if not options.record and not options.scenes and not options.runs:
        raise ValueError("no run is given; give folders of policies that see object poses: train.py --preset state")
    options.out.mkdir(parents=True, exist_ok=True)
    if options.record:
        record(options)
    elif options.scenes:
        recording = Recording(f"sim_{options.scenes}_scripted", **VIEW)
        path = options.out / options.scenes / "scenes.hdf5"
        record_scenes(recording, partial(make_sampler, options.scenes), path, options.num, options.num_workers)
    elif rows := [row for run in options.runs for row in measure(options, run)]:
        write_json(RESULTS, {"rows": rows, "provenance": provenance()})
        print(table(rows))


program = partial(main, "gym_aloha", Options, work, __doc__, "docs/your_own_environment.md")

if __name__ == "__main__":
    sys.exit(program())
