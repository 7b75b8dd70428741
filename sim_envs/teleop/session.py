"""The 50 Hz loop: who drives, the life of an episode, and how well the time is kept.

    idle -> ready -> recording -> idle              an operator alone; `ready` waits for the first move
    idle -> autonomous <-> paused <-> correcting    with an agent that the operator corrects; recorded throughout

The environment is stepped at every deadline, whatever network, page and browser do.
"""

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import mujoco
import numpy as np

from sim_envs.env import CONTROL_TIMESTEP, BimanualEnv
from sim_envs.robot import SIDES
from sim_envs.teleop.messages import PREVIEW, Command, PageLink, PageState
from sim_envs.teleop.operator import Operator

PREVIEW_EVERY = 4  # control steps between two of them, a multiple of SHOW_EVERY
PREVIEW_SLACK = 0.009  # [s] left before the deadline, or no image
SHOW_EVERY = 2  # control steps


@dataclass
class Result:
    """What one episode came to; the same fields as act.types.RolloutResult."""

    seed: int
    length: int
    max_reward: float
    episode_return: float
    success: bool
    strict_success: bool
    stages: list[int | None]
    env_state0: list[float] = field(default_factory=list)
    clipped: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Agent(Protocol):
    """Who drives while the operator does not; the same shape as act.types.Agent."""

    def reset(self, num_envs: int) -> None: ...
    def needs_images(self) -> bool: ...
    def select_action(self, observations: Sequence[dict[str, Any]]) -> np.ndarray: ...


class Observer(Protocol):
    """Who watches; the same shape as act.types.Observer."""

    def needs_images(self) -> bool: ...
    def on_reset(self, index: int, seed: int, obs: dict[str, Any], info: Mapping[str, Any]) -> None: ...
    def on_step(
        self,
        index: int,
        t: int,
        obs: dict[str, Any],
        action: np.ndarray,
        next_obs: dict[str, Any],
        reward: float,
        info: Mapping[str, Any],
    ) -> None: ...
    def on_end(self, index: int, result: Any) -> None: ...


class Timing:
    """Measures the period of the loop [s] over the last minute."""

    def __init__(self) -> None:
        self.periods: deque[float] = deque(maxlen=3000)
        self.missed = 0  # deadlines
        self._last: float | None = None

    def tick(self, now: float) -> None:
        if self._last is not None:
            self.periods.append(now - self._last)
        self._last = now

    def __str__(self) -> str:
        if not self.periods:
            return ""
        p50, p99, longest = 1000 * np.percentile(self.periods, (50, 99, 100))
        return f"control period {p50:.1f} ms, p99 {p99:.1f}, max {longest:.1f} ({self.missed} deadlines missed)"


@contextlib.contextmanager
def ahead_of_others() -> Iterator[None]:
    """Has the kernel run this thread before all ordinary ones, where it lets us: on Linux, as root or CAP_SYS_NICE.

    The loop sleeps four fifths of its time; what it must not do is wait for a browser that draws in software.
    """
    if not hasattr(os, "sched_setscheduler"):
        yield
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):  # who may ask for it by a limit may not always give it back
            os.sched_setscheduler(0, *before)


class Session:
    """One sitting: an environment, an operator at a page, and perhaps an agent to correct.

    Args:
        env: its `env_spec.episode_len` ends an episode that the operator does not end.
        link: the page.
        observers: told of recorded control steps; of the end only when the episode is kept.
        agent: makes the session human-gated: it drives until the operator takes over.
        seeds: of the episodes, one after the other; `redo` takes the same again. ValueError when there are no more.
        wanted, saved: the sitting ends when that many episodes are saved; how many there are.
        keep_failures: keep what the operator saves, whether it is a strict success or not.
        previews: cameras shown beside the scene.
        period: [s] of a control step on the wall clock.
    """

    def __init__(
        self,
        env: BimanualEnv,
        link: PageLink,
        observers: Sequence[Observer] = (),
        *,
        agent: Agent | None = None,
        operator: Operator | None = None,
        seeds: range = range(2**31),
        wanted: int = 50,
        saved: int = 0,
        keep_failures: bool = False,
        previews: Sequence[str] = (),
        period: float = CONTROL_TIMESTEP,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self.env, self.link, self.agent = env, link, agent
        self.observers = list(observers)
        self.operator = operator or Operator()
        self.seed, self.wanted, self.saved, self.keep_failures = seeds.start, wanted, saved, keep_failures
        self._seeds = seeds
        self.previews, self.period = list(previews), period
        self.timing = Timing()
        self._clock, self._sleep = clock, sleep
        self._steps = 0  # of the loop
        self._note, self._timing_told = "", ""
        self.intervention = np.zeros(1, bool)  # whether the operator drove the last recorded step
        self._reset()

    # -- the loop -----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Returns when the wanted number of episodes is saved."""
        due, farewell = self._clock(), 25  # control steps, so that the page can say so
        with ahead_of_others():
            while self.saved < self.wanted or (farewell := farewell - 1) >= 0:
                self.tick(due + self.period)
                due += self.period
                late = self._clock() - due
                if late <= 0:
                    self._sleep(-late)
                else:
                    self.timing.missed += 1
                    self.operator.excuse(late)
                    due += late if late > self.period else 0.0  # no burst to catch up

    def tick(self, deadline: float) -> None:
        """One control step, which should be over by `deadline` [s]."""
        now = self._clock()
        self.timing.tick(now)
        for command in self.link.commands():
            self._obey(command, now)
        if self.mode == "autonomous" and not self.operator.present(now):
            self._obey(("take_over",), now)  # nobody is watching the agent
        if self.mode != "ready":
            self._advance(now)
        self._steps += 1
        if self._steps % SHOW_EVERY == 0:
            self.link.show(self._view(self._previews(deadline)))

    @property
    def mode(self) -> str:
        """One of the states of the module's drawing."""
        if not self.recording:
            return "idle"
        if self.agent is None:
            return "recording" if self.t or self.operator.engaged else "ready"
        if self._autonomous:
            return "autonomous"
        return "correcting" if self.operator.engaged else "paused"

    # -- commands -----------------------------------------------------------------------------------------------------

    def _obey(self, command: Command, now: float) -> None:
        name, *values = command
        if name == "beat":
            self.operator.hear(now)
        elif name == "engage" and self.mode != "autonomous":
            self.operator.engage(self.obs["qpos"], now)
        elif name == "release":
            self.operator.release()
        elif name in ("aim", "grip") and self.mode != "autonomous":
            getattr(self.operator, name)(*values, now)
        elif name in ("record", "redo"):
            self._record()
        elif name == "save" and self.recording and self.t:
            self._end()
        elif name == "discard" and self.recording:
            self._leave("discarded")
        elif name == "take_over" and self.mode == "autonomous":
            self._autonomous = False
            self.operator.stand_by(self._action)
        elif name == "hand_back" and self.mode in ("paused", "correcting"):
            self._hand_to_agent()

    def _record(self) -> None:
        """Begins an episode, from the start also if one is under way."""
        self._reset()
        self.recording = True
        self._note = ""
        for observer in self.observers:
            observer.on_reset(0, self.seed, self.obs, {})
        if self.agent is not None:
            self._hand_to_agent()

    def _hand_to_agent(self) -> None:
        assert self.agent is not None
        self.operator.release()
        self.agent.reset(1)  # what it had planned is out of date
        self._autonomous = True

    def _end(self) -> None:
        """Ends the episode; it is kept if it is a strict success, or if failures are."""
        result = self._result()
        if not (result.strict_success or self.keep_failures):
            self._leave("not saved: no strict success at the end")
            return
        for observer in self.observers:
            observer.on_end(0, result)
        self.saved += 1
        self._leave(f"saved, {result.length * CONTROL_TIMESTEP:.1f} s long")

    def _leave(self, note: str) -> None:
        self.recording, self._autonomous, self._note = False, False, note
        self.operator.stand_by(self._action)
        self.seed += 1

    def _reset(self) -> None:
        if self.seed not in self._seeds:
            raise ValueError(f"seeds end at {self._seeds.stop - 1}: give another --dataset_dir and a smaller --seed")
        self.env.images_due = False
        self.obs, self._info = self.env.reset(seed=self.seed)
        self.recording = self._autonomous = False
        self.t, self._rewards = 0, []
        self._env_state0 = self.obs["env_state"].tolist()
        self._action = self.obs["qpos"]
        self.operator.stand_by(self._action)

    # -- one step -----------------------------------------------------------------------------------------------------

    def _advance(self, now: float) -> None:
        by_agent = self.mode == "autonomous"
        watchers = [*self.observers] * self.recording + [self.agent] * by_agent
        if any(watcher.needs_images() for watcher in watchers if watcher is not None):
            self.obs["images"] = {camera: self.env.render_camera(camera) for camera in self.env.env_spec.cameras}
        self.intervention = np.array([not by_agent and self.operator.drives(now)])
        if by_agent and self.agent is not None:
            self._action = np.asarray(self.agent.select_action([self.obs])[0], np.float32)
        else:
            self._action = self.operator.action(self.obs["qpos"], now)
        obs = self.obs
        self.obs, reward, terminated, truncated, self._info = self.env.step(self._action)
        if not self.recording:
            if terminated:
                self._reset()
            return
        for observer in self.observers:
            observer.on_step(0, self.t, obs, self._action, self.obs, reward, self._info)
        self._rewards.append(reward)
        self.t += 1
        if terminated or truncated or self._info["strict_success"]:
            self._end()

    def _result(self) -> Result:
        rewards = np.asarray(self._rewards)
        reached = [np.flatnonzero(rewards >= stage) for stage in range(1, self.env.env_spec.max_reward + 1)]
        return Result(
            seed=self.seed,
            length=self.t,
            max_reward=float(rewards.max()),
            episode_return=float(rewards.sum()),
            success=bool(self._info["success"]),
            strict_success=bool(self._info["strict_success"]),
            stages=[int(at[0]) if len(at) else None for at in reached],
            env_state0=self._env_state0,
            clipped=int(self._info["clipped"]),
        )

    # -- what is shown ------------------------------------------------------------------------------------------------

    def _view(self, images: Mapping[str, np.ndarray]) -> PageState:
        if self._steps % 50 == 0:
            self._timing_told = str(self.timing)
        return PageState(
            qpos=np.array(self.env.physics.data.qpos),
            gizmos={side: seven_of(pose) for side, pose in self.operator.goals(self.obs["qpos"]).items()},
            openings={side: self.operator.openings[side] for side in SIDES},
            mode=self.mode,
            engaged=self.operator.engaged,
            t=self.t,
            stage=int(max(self._rewards, default=0)),
            saved=self.saved,
            wanted=self.wanted,
            note=self._note,
            timing=self._timing_told,
            images=images,
        )

    def _previews(self, deadline: float) -> dict[str, np.ndarray]:
        """The image of one camera, each in its turn, if it is due and there is time for it."""
        if not self.previews or self._steps % PREVIEW_EVERY or deadline - self._clock() < PREVIEW_SLACK:
            return {}
        self.previews.append(self.previews.pop(0))
        return {self.previews[-1]: self.env.render_camera(self.previews[-1], PREVIEW)}


def seven_of(pose: Any) -> np.ndarray:
    """x y z [m], quaternion wxyz of a pose."""
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, np.ascontiguousarray(pose.rotation).ravel())
    return np.concatenate([pose.position, quat])
