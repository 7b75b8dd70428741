"""Measures the peers as they ship: the original ACT's code and LeRobot's, each in the interpreter given.

    PYTHON benchmarks/speed/peers.py original training PATH    one process, one measurement: every line on its
    PYTHON benchmarks/speed/peers.py lerobot query_fast        input asks for a round, one line of JSON answers

No code of the peers is in this repository. Weights and data are random, because the timing does not depend on them.
Four things are changed around the original's code: no GPU where there is none, no download of ImageNet weights, a
stand-in for IPython, which it imports and does not use here, and the flags that its network reads from the command
line. This file needs only torch (and mujoco and dm_control for the original's simulator), so any interpreter runs it.
"""

import json
import os
import sys
import time
import types
from collections.abc import Callable, Iterator

Round = dict[str, list[float]]  # name [unit] -> values
BATCH, CHUNK = 8, 100
QUERY_PAPER = "query, paper, 1 camera 480x640 [ms]"
RECORDED_STEPS = 400 + 401  # control steps that the original simulates and renders for one episode


def answer(rounds: Iterator[Round]) -> None:
    """Answers rounds until the input ends; everything else that is printed goes to stderr."""
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        for _ in sys.stdin:
            out.write(json.dumps(next(rounds)) + "\n")
            out.flush()


def timed(call: Callable[[], object], times: int) -> list[float]:
    """Returns the durations [ms] of `times` calls."""
    durations, torch = [], sys.modules.get("torch")
    for _ in range(times):
        start = time.perf_counter()
        call()
        if torch is not None and torch.cuda.is_available():
            torch.cuda.synchronize()
        durations.append(1e3 * (time.perf_counter() - start))
    return durations


def rounds(name: str, call: Callable[[], object], times: int) -> Iterator[Round]:
    """Yields rounds of one measurement."""
    timed(call, 2)
    while True:
        yield {name: timed(call, times)}


class Original:
    """A checkout of github.com/tonyzhaozh/act."""

    def __init__(self, path: str):
        sys.path[:0] = [path, f"{path}/detr"]
        sys.modules["IPython"] = types.SimpleNamespace(embed=None)  # type: ignore[assignment]
        os.environ.setdefault("MUJOCO_GL", "egl")

    def _policy(self):
        import torch
        import torchvision

        resnet18 = torchvision.models.resnet18
        torchvision.models.resnet18 = lambda pretrained, **kwargs: resnet18(weights=None, **kwargs)  # type: ignore
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        if self.device == "cpu":
            torch.nn.Module.cuda = lambda module: module  # type: ignore[method-assign,assignment]
        required = {"ckpt_dir": "x", "policy_class": "ACT", "task_name": "x", "seed": "0", "num_epochs": "1"}
        sys.argv = ["peers", *(word for flag, value in required.items() for word in (f"--{flag}", value))]
        from policy import ACTPolicy  # type: ignore[import-not-found]

        sizes = {"num_queries": CHUNK, "hidden_dim": 512, "dim_feedforward": 3200, "enc_layers": 4, "dec_layers": 7}
        rates = {"lr": 1e-5, "lr_backbone": 1e-5, "kl_weight": 10}
        return ACTPolicy(
            {**sizes, **rates, "nheads": 8, "backbone": "resnet18", "camera_names": ["top"], "policy_class": "ACT"}
        )

    def training(self) -> Iterator[Round]:
        """The body of its training loop, for one camera 480x640."""
        import torch

        policy = self._policy()
        optimizer = policy.configure_optimizers()
        image = torch.rand(BATCH, 1, 3, 480, 640, device=self.device)
        qpos, action = torch.rand(BATCH, 14, device=self.device), torch.rand(BATCH, CHUNK, 14, device=self.device)
        is_pad = torch.zeros(BATCH, CHUNK, dtype=torch.bool, device=self.device)

        def step() -> None:
            loss = policy(qpos, image, action, is_pad)["loss"]
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        return rounds("training step, paper [ms]", step, 1)

    def query_paper(self) -> Iterator[Round]:
        import torch

        policy = self._policy()
        policy.eval()
        image, qpos = torch.rand(1, 1, 3, 480, 640, device=self.device), torch.rand(1, 14, device=self.device)

        def query() -> None:
            with torch.inference_mode():
                policy(qpos, image).cpu()

        return rounds(QUERY_PAPER, query, 5)

    def rendering(self) -> Iterator[Round]:
        """Its transfer-cube scene."""
        from sim_env import BOX_POSE, make_sim_env  # type: ignore[import-not-found]

        BOX_POSE[0] = [0.1, 0.5, 0.05, 1, 0, 0, 0]
        env = make_sim_env("sim_transfer_cube_scripted")
        env.reset()
        while True:
            ms = timed(lambda: env.physics.render(height=480, width=640, camera_id="top"), 3)
            yield {"render top 480x640 [ms]": ms, "render top 480x640, pretty [ms]": ms}

    def recording(self) -> Iterator[Round]:
        """Control steps of its two simulations, each with three cameras, times their number in an episode.

        Resets and the 369 MB that it writes are left out, in its favour.
        """
        import numpy as np
        from ee_sim_env import make_ee_sim_env  # type: ignore[import-not-found]
        from sim_env import BOX_POSE, make_sim_env  # type: ignore[import-not-found]

        hands, joints = (make(f"sim_transfer_cube_{s}") for make, s in ((make_ee_sim_env, "e"), (make_sim_env, "j")))
        seen = hands.reset().observation
        reach = np.concatenate([seen["mocap_pose_left"], [0], seen["mocap_pose_right"], [0]])
        BOX_POSE[0] = seen["env_state"]
        home = joints.reset().observation["qpos"]
        while True:
            ms = np.mean(timed(lambda: hands.step(reach), 2) + timed(lambda: joints.step(home), 2))
            names = "record one episode 480x640 [s]", "record one episode 480x640, pretty [s]"
            yield {name: [1e-3 * float(ms) * RECORDED_STEPS] for name in names}


class LeRobot:
    """LeRobot's ACT with its defaults: the network of the paper."""

    def _policy(self, cameras: tuple[str, ...], size: tuple[int, int]):
        import torch
        from lerobot.configs.types import FeatureType, PolicyFeature  # type: ignore[import-not-found]
        from lerobot.policies.act.configuration_act import ACTConfig  # type: ignore[import-not-found]
        from lerobot.policies.act.modeling_act import ACTPolicy  # type: ignore[import-not-found]

        device = "cuda" if torch.cuda.is_available() else "cpu"
        seen = {f"observation.images.{camera}": PolicyFeature(FeatureType.VISUAL, (3, *size)) for camera in cameras}
        config = ACTConfig(
            input_features={**seen, "observation.state": PolicyFeature(FeatureType.STATE, (14,))},
            output_features={"action": PolicyFeature(FeatureType.ACTION, (14,))},
            pretrained_backbone_weights=None,
            device=device,
        )

        def batch(size_of_batch: int) -> dict:
            images = {key: torch.rand(size_of_batch, *feature.shape, device=device) for key, feature in seen.items()}
            return {**images, "observation.state": torch.rand(size_of_batch, 14, device=device)}

        return ACTPolicy(config).to(device), batch

    def training(self) -> Iterator[Round]:
        """The body of its training loop, for one camera 480x640."""
        import torch

        policy, make = self._policy(("top",), (480, 640))
        policy.train()
        batch = make(BATCH)
        device = batch["observation.state"].device
        batch |= {"action": torch.rand(BATCH, CHUNK, 14, device=device)}
        batch |= {"action_is_pad": torch.zeros(BATCH, CHUNK, dtype=torch.bool, device=device)}
        optimizer = torch.optim.AdamW(policy.get_optim_params(), lr=1e-5, weight_decay=1e-4)

        def step() -> None:
            loss, _ = policy.forward(batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(policy.parameters(), 10.0)
            optimizer.step()
            optimizer.zero_grad()

        return rounds("training step, paper [ms]", step, 1)

    def _query(self, name: str, cameras: tuple[str, ...], size: tuple[int, int]) -> Iterator[Round]:
        policy, make = self._policy(cameras, size)
        policy.eval()
        batch = make(1)
        return rounds(name, lambda: policy.predict_action_chunk(dict(batch)).cpu(), 5)

    def query_paper(self) -> Iterator[Round]:
        return self._query(QUERY_PAPER, ("top",), (480, 640))

    def query_fast(self) -> Iterator[Round]:
        return self._query("query, fast, 4 cameras 240x320 [ms]", ("a", "b", "c", "d"), (240, 320))


if __name__ == "__main__":
    peer, measurement, *path = sys.argv[1:]
    answer(getattr({"original": Original, "lerobot": LeRobot}[peer](*path), measurement)())
