"""A teleoperation session: the 50 Hz loop, the life of an episode, and who drives.

    idle -> ready -> recording -> idle              an operator alone; `ready` waits for the first move
    idle -> autonomous <-> paused <-> correcting    with an agent that the operator corrects; recorded throughout

The environment is stepped at every deadline, whatever network, page and browser do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from sim_envs.env import CONTROL_TIMESTEP, BimanualEnv
from sim_envs.kinematics import Pose
from sim_envs.robot import SIDES
from sim_envs.teleop.gated_control import GatedControl
from sim_envs.teleop.messages import PREVIEW, Command, PageLink, PageState
from sim_envs.teleop.operator import Operator
from sim_envs.teleop.pace import Pace, real_time_priority
from sim_envs.teleop.protocols import Agent, Observer, Result

SHOW_EVERY = 2  # control steps between two states sent to the page
PREVIEW_EVERY = 4  # control steps between two camera images, a multiple of SHOW_EVERY
PREVIEW_SLACK = 0.009  # [s] that must be left before the deadline for a camera image to be rendered
FAREWELL = 25  # control steps after the last episode, so that the page can show that it was saved


@dataclass(frozen=True)
class SessionPlan:
    """Which episodes a session records."""

    seeds: range = range(2**31)  # one per episode, in order; `redo` takes the same one again
    wanted: int = 50  # the session ends when so many episodes are saved
    saved: int = 0  # how many are saved already
    keep_failures: bool = False  # save what is no strict success, too


class Session:
    """An environment, an operator at a page, and perhaps an agent that the operator corrects.

    Args:
        env: its `env_spec.episode_len` ends an episode that the operator does not end.
        link: the page.
        observers: see the recorded control steps, and the end of an episode only if it is saved.
        agent: drives until the operator takes over (human-gated DAgger).
        operator: turns the page's commands into actions.
        plan: which episodes are recorded. When its seeds are used up, the next episode is a ValueError.
        previews: cameras shown beside the scene.
        pace: the deadlines.
    """

    def __init__(
        self,
        env: BimanualEnv,
        link: PageLink,
        observers: Sequence[Observer] = (),
        *,
        agent: Agent | None = None,
        operator: Operator | None = None,
        plan: SessionPlan | None = None,
        previews: Sequence[str] = (),
        pace: Pace | None = None,
    ):
        self.env, self.link, self.agent = env, link, agent
        self.observers, self.previews = list(observers), list(previews)
        self.operator, self.pace = operator or Operator(), pace or Pace()
        self.plan = plan or SessionPlan()
        self.seed, self.saved = self.plan.seeds.start, self.plan.saved
        self.intervention = np.zeros(1, bool)  # whether the operator drove the last recorded control step
        self._control = GatedControl()
        self._steps = 0  # of the loop
        self._note = self._timing_shown = ""
        self._reset()

    # -- the loop -----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Returns when the wanted number of episodes is saved."""
        remaining = FAREWELL
        self.pace.start()
        with real_time_priority():
            while self.saved < self.plan.wanted or (remaining := remaining - 1) >= 0:
                self.tick(self.pace.deadline)
                if late := self.pace.wait():
                    self.operator.excuse(late)

    def tick(self, deadline: float) -> None:
        """Does one control step, which should be over by `deadline` [s]."""
        now = self.pace.now()
        for command in self.link.commands():
            self._obey(command, now)
        if self.mode == "autonomous" and not self.operator.present(now):
            self._obey(("take_over",), now)  # an agent never drives unwatched
        if self.mode != "ready":
            self._advance(now)
        self._steps += 1
        if self._steps % SHOW_EVERY == 0:
            self.link.show(self._state(self._previews(deadline)))

    @property
    def mode(self) -> str:
        """One of the states in the drawing at the top of this module."""
        if not self.recording:
            return "idle"
        if self.agent is not None:
            return self._control.mode.value
        return "recording" if self.t or self.operator.engaged else "ready"

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
            self._control.take_over()
            self.operator.stand_by(self._action)
        elif name == "hand_back" and self.mode in ("paused", "correcting"):
            self._hand_to_agent()
        self._control.clutch(self.operator.engaged)

    def _record(self) -> None:
        """Begins an episode; one that is already running begins again."""
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
        self.agent.reset(1)  # its chunk is from before the correction
        self._control.hand_back()

    def _end(self) -> None:
        """Ends the episode; it is saved if it is a strict success, or if the plan keeps failures."""
        result = self._result()
        if not (result.strict_success or self.plan.keep_failures):
            self._leave("not saved: no strict success at the end")
            return
        for observer in self.observers:
            observer.on_end(0, result)
        self.saved += 1
        self._leave(f"saved, {result.length * CONTROL_TIMESTEP:.1f} s long")

    def _leave(self, note: str) -> None:
        self.recording, self._note = False, note
        self.operator.stand_by(self._action)
        self.seed += 1

    def _reset(self) -> None:
        if self.seed not in self.plan.seeds:
            last = self.plan.seeds.stop - 1
            raise ValueError(f"the seeds up to {last} are used up; give another --dataset_dir and a smaller --seed")
        self.env.images_due = False
        self.obs, self._info = self.env.reset(seed=self.seed)
        self.recording = False
        self.t, self._rewards = 0, []
        self._env_state0 = self.obs["env_state"].tolist()
        self._action = self.obs["qpos"]
        self.operator.stand_by(self._action)

    # -- one step -----------------------------------------------------------------------------------------------------

    def _advance(self, now: float) -> None:
        agent = self.agent if self.mode == "autonomous" else None
        watchers = [*(self.observers if self.recording else []), *([agent] if agent is not None else [])]
        if any(watcher.needs_images() for watcher in watchers):
            self.obs["images"] = {camera: self.env.render_camera(camera) for camera in self.env.env_spec.cameras}
        self.intervention = np.array([agent is None and self.operator.drives(now)])
        if agent is not None:
            self._action = np.asarray(agent.select_action([self.obs])[0], np.float32)
        else:
            self._action = self.operator.action(self.obs["qpos"], now)
            self._control.clutch(self.operator.engaged)  # a silent page has let it go
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

    def _state(self, images: Mapping[str, np.ndarray]) -> PageState:
        if self._steps % 50 == 0:
            self._timing_shown = str(self.pace)
        return PageState(
            qpos=np.array(self.env.physics.data.qpos),
            gizmos={side: numbers_of(pose) for side, pose in self.operator.goals(self.obs["qpos"]).items()},
            openings={side: self.operator.openings[side] for side in SIDES},
            mode=self.mode,
            engaged=self.operator.engaged,
            t=self.t,
            stage=int(max(self._rewards, default=0)),
            saved=self.saved,
            wanted=self.plan.wanted,
            note=self._note,
            timing=self._timing_shown,
            images=images,
        )

    def _previews(self, deadline: float) -> dict[str, np.ndarray]:
        """The image of one camera, in turn, if it is due and there is time to render it."""
        if not self.previews or self._steps % PREVIEW_EVERY or deadline - self.pace.now() < PREVIEW_SLACK:
            return {}
        self.previews.append(self.previews.pop(0))
        return {self.previews[-1]: self.env.render_camera(self.previews[-1], PREVIEW)}


def numbers_of(pose: Pose) -> np.ndarray:
    """The seven numbers of a pose: position x y z [m], quaternion wxyz. It is the inverse of kinematics.pose_of."""
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, np.ascontiguousarray(pose.rotation).ravel())
    return np.concatenate([pose.position, quat])
