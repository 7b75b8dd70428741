"""What `python -m benchmarks.speed` measures: one generator per part, whose every `next` is a round.

A round maps names to values. A name ends with the unit: [ms] and [s] are durations, [.../s] and [.../min] are rates.
"""

import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

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
from act.runtime.agents import PolicyAgent
from act.runtime.envs import ParallelEnvs
from act.runtime.realtime import AsyncAgent
from act.runtime.robot_envs import PacedEnvs
from act.serving.export import export_int8
from act.serving.onnx_policy import OnnxPolicy
from act.training import config as configs
from act.training.trainer import Trainer
from act.types import PolicySpec
from act.workers import available_cores

CAMERAS = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")
TASK, FAST_SIZE, PAPER_SIZE = "transfer_cube", (240, 320), (480, 640)
Round = dict[str, list[float]]


def timed(call: Callable[[], object], times: int) -> list[float]:
    """Returns the durations [ms] of `times` calls."""
    durations = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        durations.append(1e3 * (time.perf_counter() - start))
    return durations


def rendering() -> Iterator[Round]:
    """One image of every camera and quality; "pretty" has the shadows and the multisampling of the original."""
    env = sim_envs.make(TASK, cameras=())
    env.reset(seed=0)

    def render(camera: str, quality: str, size: tuple[int, int]) -> list[float]:
        env.quality = quality
        env.render_camera(camera, size)
        return timed(lambda: env.render_camera(camera, size), 20)

    while True:
        found = {"render cam_high 240x320, fast [ms]": render("cam_high", "fast", FAST_SIZE)}
        for camera in (*CAMERAS, "top", "angle"):
            for quality in ("fast", "pretty"):
                found[f"render {camera} 480x640, {quality} [ms]"] = render(camera, quality, PAPER_SIZE)
        yield found


def physics() -> Iterator[Round]:
    """Control steps of 10 x 2 ms without cameras, while the arms hold still."""
    env = sim_envs.make(TASK, cameras=())
    home = env.reset(seed=0)[0]["qpos"]
    while True:
        yield {"physics of one control step [ms]": timed(lambda: env.step(home), 300)}


def recording(quality: Literal["fast", "pretty"]) -> Iterator[Round]:
    """An episode of the expert with four cameras, including the start of its environment."""
    suffix = "" if quality == "fast" else f", {quality}"
    for seed in range(0, 1_000_000, 1000):
        with tempfile.TemporaryDirectory() as folder:
            run = partial(record_one, Path(folder), Recording(seed=seed, quality=quality))
            (ms,), size = timed(run, 1), sum(file.stat().st_size for file in Path(folder).iterdir())
        yield {
            f"record one episode 480x640{suffix} [s]": [1e-3 * ms],
            f"episode of 4 cameras on disk{suffix} [MB]": [1e-6 * size],
        }


def record_one(folder: Path, recording: Recording) -> Any:
    """Returns the path of the episode."""
    make_env = partial(sim_envs.make, recording.task, **recording.view)
    make_expert = partial(sim_envs.make_expert, recording.task, recording.style)
    return AttemptRunner(recording, make_env, make_expert, folder).run(0).path


def training(preset: str, times: int) -> Iterator[Round]:
    """Optimizer steps, and the share of the chip's bf16 matrix product that the network's arithmetic reaches."""
    policy, config = make_policy(preset)
    trainer, batch, size = Trainer(policy, config), make_batch(policy, config.batch_size), config.batch_size
    with FlopCounterMode(display=False) as counter:
        trainer.train_step(batch)
    flops = counter.get_total_flops()
    square = torch.rand(2048, 2048, device=policy.device).bfloat16()
    step = lambda: trainer.train_step(batch)["loss"].item()  # noqa: E731
    timed(step, 2)
    while True:
        peak = 2 * 2048**3 / (1e-3 * min(timed(lambda: square @ square, 5)))
        durations, memory = timed(step, times), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        if torch.cuda.is_available():
            memory = torch.cuda.max_memory_allocated() / 2**20
        yield {
            f"training step, {preset} [ms]": durations,
            f"training, {preset}, batches of {size} [samples/s]": [1e3 * size / d for d in durations],
            f"training, {preset}, of the bf16 peak [%]": [100 * flops / (1e-3 * d) / peak for d in durations],
            f"arithmetic of a step, {preset} [GFLOP]": [1e-9 * flops],
            "bf16 matrix product 2048^3 [GFLOP/s]": [1e-9 * peak],
            f"training, {preset}, peak memory [MiB]": [memory],
        }


def query_paper() -> Iterator[Round]:
    return queries({"query, paper, 1 camera 480x640": make_policy("paper")[0]}, 10)


def query_fast() -> Iterator[Round]:
    """The same network in every engine; one recorded episode gives the ranges of the 8-bit one."""
    policy, name = make_policy("fast")[0], "query, fast, 4 cameras 240x320"
    engines = {name: policy}
    with tempfile.TemporaryDirectory() as folder:
        save_policy(run := Path(folder), policy, {"train": {"dataset_dir": [folder]}})
        record_one(run, Recording(image_size=FAST_SIZE)).rename(run / "episode_0.hdf5")
        export_int8(run)
        engines |= {f"{name}, ONNX": OnnxPolicy.load(run, "onnx")}
        engines |= {f"{name}, ONNX int8": OnnxPolicy.load(run, "int8")}
    return queries(engines, 100)


def queries(engines: dict[str, Any], times: int) -> Iterator[Round]:
    """Queries of the same observation in every engine."""
    history = make_history(next(iter(engines.values())))
    calls = {f"{name} [ms]": partial(engine.predict_chunk, [history]) for name, engine in engines.items()}
    for call in calls.values():
        timed(call, 5)
    while True:
        yield {name: timed(call, times) for name, call in calls.items()}


def evaluation() -> Iterator[Round]:
    """Rollouts to their end, as many at once as eval.py runs."""
    policy, _ = make_policy("fast")
    with make_simulator(8 * available_cores()) as envs:
        stand_still(policy, envs.reset([0], images_due=False)[0][0]["qpos"])
        agents = {" in chunks": PolicyAgent(policy), ", ensemble every step": PolicyAgent(policy, ensemble_m=0.01)}
        while True:
            found: Round = {}
            for name, agent in agents.items():
                rate = evaluate(envs, agent, range(envs.num_envs), progress=False).rollouts_per_min
                found[f"evaluation{name}, fast [rollouts/min]"] = [rate]
            yield found


def realtime() -> Iterator[Round]:
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
            for _ in range(400):
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
    make = partial(sim_envs.make, TASK, cameras=CAMERAS, image_size=FAST_SIZE)
    return ParallelEnvs(make, num_envs, available_cores())


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
    is_pad = torch.zeros(action.shape[:2], dtype=torch.bool)
    return Batch(qpos=qpos, action=action, is_pad=is_pad, **seen).to(policy.device)


def make_history(policy: Any) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    images = {c: rng.integers(0, 256, (*policy.spec.image_size, 3), np.uint8) for c in policy.spec.cameras}
    return [{"qpos": rng.random(policy.spec.qpos_dim, np.float32), "images": images}] * policy.n_obs_steps


def stand_still(policy: Any, qpos: np.ndarray) -> None:
    """Makes a random policy stay near qpos (14,), because the physics of fast random motions takes longer."""
    policy.normalizer.fit("action", torch.from_numpy(qpos) + 0.01 * torch.randn(100, len(qpos)))


PARTS: dict[str, Callable[[], Iterator[Round]]] = {
    "recording": partial(recording, "fast"),
    "recording_pretty": partial(recording, "pretty"),
    "training_paper": partial(training, "paper", 2),
    "training_fast": partial(training, "fast", 30),
    **{part.__name__: part for part in (rendering, physics, query_paper, query_fast, evaluation, realtime)},
}


def run(part: str, n_rounds: int) -> list[Round]:
    return [*islice(PARTS[part](), n_rounds)]
