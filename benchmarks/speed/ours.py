"""What `python -m benchmarks.speed` measures of ours: one generator per part; every `next` is a round.

Each runs in a process of its own: those of the simulator import no torch, those of the learner no simulator. `quick`
asks for few repetitions. Names say the unit: [ms] and [s] are durations, [.../s] and [.../min] rates.
"""

import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from act.data.normalize import Normalizer
from act.workers import available_cores
from benchmarks.speed.peers import Round, timed

ROOT = Path(__file__).parents[2]
CAMERAS = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")
ALL_CAMERAS = (*CAMERAS, "top", "angle")
FAST_SIZE, PAPER_SIZE = (240, 320), (480, 640)
TASK = "transfer_cube"


# ------------------------------------------------------------------------------------------ subjects: the simulator's
def rendering(quick: bool) -> Iterator[Round]:
    """One image of every camera and quality."""
    import sim_envs

    env = sim_envs.make(TASK, cameras=())
    env.reset(seed=0)
    times = 3 if quick else 20

    def draw(quality: str, camera: str, size: tuple[int, int]) -> list[float]:
        env.quality = quality
        view = partial(env.render_camera, camera, size)
        view()
        return timed(view, times)

    while True:
        shown = {
            f"render {c} 480x640, {q} [ms]": draw(q, c, PAPER_SIZE) for c in ALL_CAMERAS for q in ("fast", "pretty")
        }
        shown["render top 480x640 [ms]"] = shown["render top 480x640, fast [ms]"]
        yield {**shown, "render cam_high 240x320, fast [ms]": draw("fast", "cam_high", FAST_SIZE)}


def physics(quick: bool) -> Iterator[Round]:
    """Control steps of 10 x 2 ms, holding still, without cameras."""
    import sim_envs

    env = sim_envs.make(TASK, cameras=())
    home = env.reset(seed=0)[0]["qpos"]
    while True:
        yield {"physics of one control step [ms]": timed(lambda: env.step(home), 50 if quick else 300)}


def recording(quick: bool) -> Iterator[Round]:
    """An episode with four cameras, in one process; and several, by a process per core."""
    import record_sim_episodes

    def record(directory: str, seed: int, n: int, workers: int) -> tuple[float, float]:
        """Seconds and bytes per episode."""
        flags = ["--dataset_dir", directory, "--seed", str(seed), "--num_episodes", str(n), "--workers", str(workers)]
        (ms,) = timed(lambda: record_sim_episodes.main([*flags, "--task_name", f"sim_{TASK}_scripted"]), 1)
        files = list(Path(directory).glob("episode_*.hdf5"))
        return 1e-3 * ms / n, sum(file.stat().st_size for file in files) / n

    n = available_cores() * (1 if quick else 4)
    for seed in range(0, 1_000_000, 1000):
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as several:
            seconds, size = record(one, seed, 1, 1)
            together, _ = record(several, seed, n, available_cores())
        yield {
            "record one episode 480x640 [s]": [seconds],
            "recorded frames, one episode [/s]": [_frames() / seconds],
            "record, all cores, per episode [s]": [together],
            "episode of 4 cameras on disk [MB]": [1e-6 * size],
        }


def _frames() -> int:
    import sim_envs

    return sim_envs.load(TASK).episode_len * len(CAMERAS)


# ---------------------------------------------------------------------------------------------- subjects: the learner's
def dataset(quick: bool) -> Iterator[Round]:
    """Samples with images as training draws them: from memory, and decoded one by one."""
    from torch import device

    from act.data.dataset import EpisodeDataset, Sampling, find, load_episodes

    with tempfile.TemporaryDirectory() as folder:
        demonstrate(folder, PAPER_SIZE)
        episodes = load_episodes(find(Path(folder)), ("top",))

        def samples(cache: str, batches: int) -> list[float]:
            data = EpisodeDataset(episodes, Sampling(100, cameras=("top",), image_size=PAPER_SIZE))
            data.frames.keep(cache, device("cpu"))  # type: ignore[arg-type]
            stream = data.batches(0, 0, batches + 2, 8)
            next(stream)
            return [8e3 / ms for ms in timed(lambda: next(stream), batches)]

        while True:
            yield {
                "samples from memory, 1 camera 480x640 [/s]": samples("ram", 10 if quick else 50),
                "samples decoded from JPEG, 1 camera 480x640 [/s]": samples("stream", 10 if quick else 50),
            }


def training_paper(quick: bool) -> Iterator[Round]:
    return training("paper", 1 if quick else 2)


def training_fast(quick: bool) -> Iterator[Round]:
    return training("fast", 5 if quick else 30)


def training(preset: str, times: int) -> Iterator[Round]:
    """Optimizer steps, and the share of the chip's bf16 matrix product that the network's own arithmetic reaches."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from act.training.trainer import Trainer

    policy, config = make_policy(preset)
    size = config.batch_size
    trainer, batch = Trainer(policy, config), make_batch(policy, size)
    with FlopCounterMode(display=False) as counter:
        trainer.train_step(batch)
    flops = counter.get_total_flops()
    square = torch.rand(2048, 2048, device=policy.device).bfloat16()

    def step() -> None:
        trainer.train_step(batch)["loss"].item()

    timed(step, 2)
    while True:
        peak = 2 * 2048**3 / (1e-3 * min(timed(lambda: square @ square, 5)))
        durations = timed(step, times)
        yield {
            f"training step, {preset} [ms]": durations,
            f"training, {preset}, batches of {size} [samples/s]": [1e3 * size / d for d in durations],
            f"training, {preset}, of the bf16 peak [%]": [100 * flops / (1e-3 * d) / peak for d in durations],
            f"arithmetic of a step, {preset} [GFLOP]": [1e-9 * flops],
            "bf16 matrix product 2048^3 [GFLOP/s]": [1e-9 * peak],
            f"training, {preset}, peak memory [MiB]": [_peak_memory()],
        }  # fmt: skip


def query_paper(quick: bool) -> Iterator[Round]:
    policy, _ = make_policy("paper")
    history = make_history(policy)
    timed(lambda: policy.predict_chunk([history]), 3)
    while True:
        yield {"query, paper, 1 camera 480x640 [ms]": timed(lambda: policy.predict_chunk([history]), 10)}


def query_fast(quick: bool) -> Iterator[Round]:
    """The same network by every engine that is installed."""
    policy, _ = make_policy("fast")
    engines: dict[str, Any] = {"": policy}
    with tempfile.TemporaryDirectory() as folder:
        engines |= exported(policy, Path(folder))
    history, times = make_history(policy), 20 if quick else 100
    for engine in engines.values():
        timed(partial(engine.predict_chunk, [history]), 5)
    while True:
        yield {
            f"query, fast, 4 cameras 240x320{name} [ms]": timed(partial(engine.predict_chunk, [history]), times)
            for name, engine in engines.items()
        }


def exported(policy: Any, run: Path) -> dict[str, Any]:
    """The policy run by ONNX Runtime, where that is installed; its 8 bits are scaled by one recorded episode."""
    from act.policies.base.storage import save_policy
    from act.serving.export import check_installed, export_int8
    from act.serving.onnx_policy import OnnxPolicy

    try:
        check_installed()
    except ValueError as error:
        print(f"without ONNX: {error}", file=sys.stderr)
        return {}
    save_policy(run, policy, {"train": {"dataset_dir": [str(run)]}})
    demonstrate(str(run), FAST_SIZE)
    export_int8(run)
    return {f", {name}": OnnxPolicy.load(run, engine) for name, engine in (("ONNX", "onnx"), ("ONNX int8", "int8"))}


def evaluation(quick: bool) -> Iterator[Round]:
    """Rollouts to their end, as many at once as eval.py runs."""
    from act.evaluation.evaluate import evaluate
    from act.runtime.agents import PolicyAgent
    from act.runtime.envs import ParallelEnvs

    policy, _ = make_policy("fast")
    cores = available_cores()
    chunked, ensembled = (2 * cores, cores) if quick else (16 * cores, 8 * cores)
    with ParallelEnvs(partial(make_env, CAMERAS), ensembled, cores) as envs:
        stand_still(policy, envs.reset([0], images_due=False)[0][0]["qpos"])
        rates = lambda agent, n: [evaluate(envs, agent, range(n), progress=False).rollouts_per_min]  # noqa: E731
        while True:
            yield {
                "evaluation in chunks, fast [rollouts/min]": rates(PolicyAgent(policy), chunked),
                "evaluation, ensemble every step, fast [rollouts/min]": rates(
                    PolicyAgent(policy, ensemble_m=0.01), ensembled
                ),
            }


def realtime(quick: bool) -> Iterator[Round]:
    """The simulator on the wall clock beside a policy that is asked as often as it can answer, for ensembling."""
    from act.runtime.envs import ParallelEnvs
    from act.runtime.realtime import AsyncAgent
    from act.runtime.robot_envs import PacedEnvs

    policy, _ = make_policy("fast")
    agent = AsyncAgent(policy, ensemble_m=0.01, say=lambda _: None)
    agent.warm_up(make_history(policy)[-1:])
    with ParallelEnvs(partial(make_env, CAMERAS), 1, 1) as simulator:
        while True:
            envs = PacedEnvs(simulator)
            agent.reset(1)
            agent.latencies.clear()
            ((obs, _),) = envs.reset([0], images_due=True)
            stand_still(policy, obs["qpos"])
            for _ in range(100 if quick else 400):
                ((obs, *_),) = envs.step(agent.select_action([obs]), agent.needs_images())
            yield {
                "real time, control period [ms]": [1e3 * seconds for seconds in envs.pace.durations],
                "real time, deadlines missed [%]": [100 * envs.pace.missed / len(envs.pace.durations)],
                "real time, query beside the simulator [ms]": [1e3 * seconds for seconds in agent.latencies],
                "real time, steps between queries [1]": [len(envs.pace.durations) / len(agent.latencies)],
            }


# ---------------------------------------------------------------------------------------------- what subjects work with
def make_env(cameras: tuple[str, ...]):
    """In simulating processes only."""
    import sim_envs

    return sim_envs.make(TASK, cameras=cameras, image_size=FAST_SIZE)


def demonstrate(directory: str, size: tuple[int, int]) -> None:
    """Records one episode with the cameras of both presets, in another process."""
    flags = ["--task_name", f"sim_{TASK}_scripted", "--dataset_dir", directory, "--num_episodes", "1", "--workers", "1"]
    flags += ["--image_size", *map(str, size), "--cameras", "top", *CAMERAS]
    done = subprocess.run([sys.executable, ROOT / "record_sim_episodes.py", *flags], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"recording a demonstration failed: {done.stderr}")


def make_policy(preset: str) -> tuple[Any, Any]:
    """A network of random weights in the shape of a preset, on the device that training would choose; its config."""
    import torch

    from act.nn.device import choose_device
    from act.policies import act
    from act.training import config as configs
    from act.types import PolicySpec

    torch.manual_seed(0)
    config: Any = configs.preset(preset, "ACT", f"sim_{TASK}_scripted")
    spec = PolicySpec(config.cameras, config.image_size)
    policy = act.Policy(config.policy, spec, Normalizer.of(spec)).to(choose_device(config.device))
    return policy.eval(), config


def make_batch(policy: Any, batch_size: int) -> Any:
    """What the policy sees in training: features of a frozen trunk, otherwise images."""
    import torch

    from act.data.batch import Batch

    spec, lead = policy.spec, (batch_size, policy.n_obs_steps, len(policy.spec.cameras))
    seen: dict[str, Any] = {"images": torch.randint(0, 256, (*lead, *spec.image_size, 3), dtype=torch.uint8)}
    if policy.has_frozen_trunk:
        seen = {"features": torch.rand(*lead, policy.trunk.config.n_features)}
    return Batch(
        qpos=torch.rand(*lead[:2], spec.qpos_dim),
        action=torch.rand(batch_size, policy.chunk_size, spec.action_dim),
        is_pad=torch.zeros(batch_size, policy.chunk_size, dtype=torch.bool),
        **seen,
    ).to(policy.device)


def make_history(policy: Any) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    images = {c: rng.integers(0, 256, (*policy.spec.image_size, 3), np.uint8) for c in policy.spec.cameras}
    return [{"qpos": rng.random(policy.spec.qpos_dim, np.float32), "images": images}] * policy.n_obs_steps


def stand_still(policy: Any, qpos: np.ndarray) -> None:
    """Makes a random policy stay near qpos (14,): arms that flail cost other physics than arms at work."""
    import torch

    policy.normalizer.fit("action", torch.from_numpy(qpos) + 0.01 * torch.randn(100, len(qpos)))


def _peak_memory() -> float:
    """Of this process, or of its GPU [MiB]."""
    torch = sys.modules["torch"]
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


SUBJECTS: dict[str, Callable[[bool], Iterator[Round]]] = {
    subject.__name__: subject
    for subject in (
        *(rendering, physics, recording, dataset, training_paper, training_fast),
        *(query_paper, query_fast, evaluation, realtime),
    )
}
