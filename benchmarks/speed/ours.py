"""What `python -m benchmarks.speed` measures of this repository: one generator per part; every `next` is a round.

`quick` asks for few repetitions. Names end with the unit: [ms] and [s] are durations, [.../s] and [.../min] are rates.
"""

import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

import sim_envs
from act.data.batch import Batch
from act.data.normalize import Normalizer
from act.evaluation.evaluate import evaluate
from act.nn.device import choose_device
from act.policies import act
from act.policies.base.storage import save_policy
from act.recording.attempts import AttemptRunner, Recording
from act.recording.demonstrations import WorkerPool, record
from act.runtime.agents import PolicyAgent
from act.runtime.envs import ParallelEnvs
from act.runtime.realtime import AsyncAgent
from act.runtime.robot_envs import PacedEnvs
from act.serving.export import check_installed, export_int8
from act.serving.onnx_policy import OnnxPolicy
from act.training import config as configs
from act.training.trainer import Trainer
from act.types import PolicySpec
from act.workers import available_cores
from benchmarks.speed.peers import Round, timed

CAMERAS = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")
FAST_SIZE, PAPER_SIZE = (240, 320), (480, 640)
TASK = "transfer_cube"


# ---------------------------------------------------------------------------------------------------------- simulator
def rendering(quick: bool) -> Iterator[Round]:
    """One image of every camera and quality; "pretty" has the shadows and the multisampling of the original."""
    env, times = sim_envs.make(TASK, cameras=()), 3 if quick else 20
    env.reset(seed=0)

    def render(camera: str, quality: str, size: tuple[int, int]) -> list[float]:
        env.quality = quality
        view = partial(env.render_camera, camera, size)
        view()
        return timed(view, times)

    while True:
        found = {
            f"render {camera} 480x640, {quality} [ms]": render(camera, quality, PAPER_SIZE)
            for camera in (*CAMERAS, "top", "angle")
            for quality in ("fast", "pretty")
        }
        found["render top 480x640 [ms]"] = found["render top 480x640, fast [ms]"]
        yield {**found, "render cam_high 240x320, fast [ms]": render("cam_high", "fast", FAST_SIZE)}


def physics(quick: bool) -> Iterator[Round]:
    """Control steps of 10 x 2 ms without cameras, while the arms hold still."""
    env = sim_envs.make(TASK, cameras=())
    home = env.reset(seed=0)[0]["qpos"]
    while True:
        yield {"physics of one control step [ms]": timed(lambda: env.step(home), 50 if quick else 300)}


def recording(quick: bool) -> Iterator[Round]:
    """An episode with four cameras in this process; and several, with a process per core."""
    n = available_cores() * (1 if quick else 4)
    for seed in range(0, 1_000_000, 1000):
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as several:
            seconds = record_one(Path(one), Recording(seed=seed))
            size = sum(file.stat().st_size for file in Path(one).iterdir())
            (ms,) = timed(partial(record_several, Path(several), n, Recording(seed=seed)), 1)
        frames = sim_envs.load(TASK).episode_len * len(CAMERAS)
        yield {
            "record one episode 480x640 [s]": [seconds],
            "recorded frames, one episode [/s]": [frames / seconds],
            "record, all cores, per episode [s]": [1e-3 * ms / n],
            "episode of 4 cameras on disk [MB]": [1e-6 * size],
        }


def recording_pretty(quick: bool) -> Iterator[Round]:
    """An episode with four cameras, rendered with the shadows and the multisampling of the original."""
    for seed in range(0, 1_000_000, 1000):
        with tempfile.TemporaryDirectory() as folder:
            seconds = record_one(Path(folder), Recording(seed=seed, quality="pretty"))
        yield {"record one episode 480x640, pretty [s]": [seconds]}


def record_one(folder: Path, recording: Recording) -> float:
    """Seconds that an episode of the expert takes, including the start of its environment."""
    (ms,) = timed(lambda: AttemptRunner(*recorder(recording), folder).run(0), 1)
    return 1e-3 * ms


def record_several(folder: Path, n: int, recording: Recording) -> None:
    record(*recorder(recording), folder, n, partial(WorkerPool, workers=min(n, available_cores())))


def recorder(recording: Recording) -> tuple[Recording, Any, Any]:
    """The recording, and what makes its environment and its expert."""
    make_env = partial(sim_envs.make, recording.task, **recording.view)
    return recording, make_env, partial(sim_envs.make_expert, recording.task, recording.style)


# ------------------------------------------------------------------------------------------------------------- learner
def training(preset: str, times: int) -> Iterator[Round]:
    """Optimizer steps, and the share of the chip's bf16 matrix product that the network's arithmetic reaches."""
    policy, config = make_policy(preset)
    size = config.batch_size
    trainer, batch = Trainer(policy, config), make_batch(policy, size)
    with FlopCounterMode(display=False) as counter:
        trainer.train_step(batch)
    flops = counter.get_total_flops()
    square = torch.rand(2048, 2048, device=policy.device).bfloat16()
    step = lambda: trainer.train_step(batch)["loss"].item()  # noqa: E731
    timed(step, 2)
    while True:
        peak = 2 * 2048**3 / (1e-3 * min(timed(lambda: square @ square, 5)))
        durations, peak_memory = timed(step, times), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        if torch.cuda.is_available():
            peak_memory = torch.cuda.max_memory_allocated() / 2**20
        yield {
            f"training step, {preset} [ms]": durations,
            f"training, {preset}, batches of {size} [samples/s]": [1e3 * size / d for d in durations],
            f"training, {preset}, of the bf16 peak [%]": [100 * flops / (1e-3 * d) / peak for d in durations],
            f"arithmetic of a step, {preset} [GFLOP]": [1e-9 * flops],
            "bf16 matrix product 2048^3 [GFLOP/s]": [1e-9 * peak],
            f"training, {preset}, peak memory [MiB]": [peak_memory],
        }  # fmt: skip


def query_paper(quick: bool) -> Iterator[Round]:
    return queries({"query, paper, 1 camera 480x640": make_policy("paper")[0]}, 10)


def query_fast(quick: bool) -> Iterator[Round]:
    """The same network in every engine that is installed; one recorded episode gives the ranges of the 8-bit one."""
    policy, name = make_policy("fast")[0], "query, fast, 4 cameras 240x320"
    engines = {name: policy}
    with tempfile.TemporaryDirectory() as folder:
        try:
            check_installed()
        except ValueError as error:
            print(f"without ONNX: {error}", file=sys.stderr)
        else:
            save_policy(run := Path(folder), policy, {"train": {"dataset_dir": [folder]}})
            record_several(run, 1, Recording(image_size=FAST_SIZE))
            export_int8(run)
            engines |= {
                f"{name}, ONNX": OnnxPolicy.load(run, "onnx"),
                f"{name}, ONNX int8": OnnxPolicy.load(run, "int8"),
            }
    return queries(engines, 20 if quick else 100)


def queries(engines: dict[str, Any], times: int) -> Iterator[Round]:
    """Queries of the same observation in every engine."""
    history = make_history(next(iter(engines.values())))
    calls = {f"{name} [ms]": partial(engine.predict_chunk, [history]) for name, engine in engines.items()}
    for call in calls.values():
        timed(call, 5)
    while True:
        yield {name: timed(call, times) for name, call in calls.items()}


def evaluation(quick: bool) -> Iterator[Round]:
    """Rollouts to their end, as many at once as eval.py runs."""
    (policy, _), cores = make_policy("fast"), available_cores()
    chunks, ensemble = PolicyAgent(policy), PolicyAgent(policy, ensemble_m=0.01)
    with make_simulator(cores if quick else 8 * cores) as envs:
        stand_still(policy, envs.reset([0], images_due=False)[0][0]["qpos"])
        rate = lambda agent, n: [evaluate(envs, agent, range(n), progress=False).rollouts_per_min]  # noqa: E731
        while True:
            found = {"evaluation in chunks, fast [rollouts/min]": rate(chunks, 2 * envs.num_envs)}
            yield found | {"evaluation, ensemble every step, fast [rollouts/min]": rate(ensemble, envs.num_envs)}


def realtime(quick: bool) -> Iterator[Round]:
    """The simulator on the wall clock, beside a policy that is queried as often as it can answer, for ensembling."""
    policy, _ = make_policy("fast")
    agent = AsyncAgent(policy, ensemble_m=0.01, say=lambda _: None)
    agent.warm_up(make_history(policy)[-1:])
    with make_simulator(1) as simulator:
        while True:
            envs = PacedEnvs(simulator)
            agent.reset(1)
            agent.latencies.clear()
            ((obs, _),) = envs.reset([0], images_due=True)
            stand_still(policy, obs["qpos"])
            for _ in range(100 if quick else 400):
                ((obs, *_),) = envs.step(agent.select_action([obs]), agent.needs_images())
            n = len(envs.pace.durations)
            yield {
                "real time, control period [ms]": [1e3 * seconds for seconds in envs.pace.durations],
                "real time, deadlines missed [%]": [100 * envs.pace.missed / n],
                "real time, query beside the simulator [ms]": [1e3 * seconds for seconds in agent.latencies],
                "real time, steps between queries [1]": [n / len(agent.latencies)],
            }


def make_simulator(num_envs: int) -> ParallelEnvs:
    """Four cameras at the size of preset fast, in a process per core."""
    return ParallelEnvs(
        partial(sim_envs.make, TASK, cameras=CAMERAS, image_size=FAST_SIZE), num_envs, available_cores()
    )


def make_policy(preset: str) -> tuple[Any, Any]:
    """A preset's network with random weights, on the device that training would choose; and its config."""
    torch.manual_seed(0)
    config: Any = configs.preset(preset, "ACT", f"sim_{TASK}_scripted")
    spec = PolicySpec(config.cameras, config.image_size)
    policy = act.Policy(config.policy, spec, Normalizer.of(spec)).to(choose_device(config.device))
    return policy.eval(), config


def make_batch(policy: Any, batch_size: int) -> Batch:
    """A batch of training: features of a frozen backbone, otherwise images."""
    spec, lead = policy.spec, (batch_size, policy.n_obs_steps, len(policy.spec.cameras))
    seen: dict[str, Any] = {"images": torch.randint(0, 256, (*lead, *spec.image_size, 3), dtype=torch.uint8)}
    if policy.has_frozen_backbone:
        seen = {"features": torch.rand(*lead, policy.trunk.config.n_features)}
    qpos, action = torch.rand(*lead[:2], spec.qpos_dim), torch.rand(batch_size, policy.chunk_size, spec.action_dim)
    return Batch(qpos=qpos, action=action, is_pad=torch.zeros(action.shape[:2], dtype=torch.bool), **seen).to(
        policy.device
    )


def make_history(policy: Any) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    images = {c: rng.integers(0, 256, (*policy.spec.image_size, 3), np.uint8) for c in policy.spec.cameras}
    return [{"qpos": rng.random(policy.spec.qpos_dim, np.float32), "images": images}] * policy.n_obs_steps


def stand_still(policy: Any, qpos: np.ndarray) -> None:
    """Makes a random policy stay near qpos (14,), because the physics of fast random motions takes longer."""
    policy.normalizer.fit("action", torch.from_numpy(qpos) + 0.01 * torch.randn(100, len(qpos)))


MEASUREMENTS: dict[str, Callable[[bool], Iterator[Round]]] = {
    **{part.__name__: part for part in (rendering, physics, recording, recording_pretty)},
    "training_paper": lambda quick: training("paper", 1 if quick else 2),
    "training_fast": lambda quick: training("fast", 5 if quick else 30),
    **{part.__name__: part for part in (query_paper, query_fast, evaluation, realtime)},
}
