"""A slow policy at 50 Hz: `AsyncAgent` asks it in a thread, `PolicyProcess` keeps it in a process of its own.

    with ParallelEnvs(make, 1, 1) as simulator:                  # or: envs = RobotEnvs(robot, spec)
        envs, agent = PacedEnvs(simulator), AsyncAgent(policy, ensemble_m=0.01)
        results = list(rollout(envs, agent, seeds=[0]))          # the same loop, recorder and video as in simulation
        print(envs.pace.timing(), agent.held)

Nothing here knows of physics or networks; docs/realtime.md explains how to connect a robot.
"""

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass

import numpy as np

from act.runtime.agents import ChunkPolicy, TemporalEnsemble, action_dim_of, check_n_action_steps, remembered
from act.runtime.checks import check_readings, checked_chunks, wrong_reading
from act.runtime.limits import resting
from act.runtime.pace import Clock, WallClock
from act.runtime.query_thread import QueryThread
from act.types import CONTROL_TIMESTEP, Observation, PolicySpec
from act.workers import Worker

QUERY_NICE = 10  # how much the thread that asks the policy is nicer than the control loop
ENDING = 1.0  # [s] that a policy in a process may take to finish its query at the end, before it is killed


@dataclass(eq=False)
class _Seen:
    """An observation in the history; the policy's thread replaces its images by features."""

    obs: Observation


class AsyncAgent:
    """Executes chunks of a policy that is asked in a thread, so that a slow query never delays an action.

    A chunk counts from the control step at which the policy was ASKED, however late it arrives: its first actions are
    past by then and are skipped. At most one query runs at a time. The next one begins at the first control step that
    is at least `n_action_steps` after the last query and finds the policy free.

    With `ensemble_m` the action is the weighted mean of all chunks that cover t, and `n_action_steps` is 1 by default:
    the policy is asked as often as it can answer. Without it the newest chunk is executed, and the policy is asked
    every half chunk by default.

    Where no chunk covers t the robot holds its position: the last action again, or qpos before the first action. So it
    does at a control step whose readings are not finite, which the policy never gets. `held` lists these control steps
    of the episode, and `say` gets one sentence for each stretch of them. `late` lists by how many control steps answers
    came after the end of their chunks, and `say` gets one sentence about the first. `latencies` collects the duration
    of every query [s].

    An error in the policy is raised by the next `select_action`, and so is an answer that is not finite or not of the
    policy's size; such an answer is never executed. A policy that never answers does not keep the program from ending.
    """

    def __init__(
        self,
        policy: ChunkPolicy,
        n_action_steps: int | None = None,
        ensemble_m: float | None = None,
        *,
        executor: Executor | None = None,
        clock: Clock | None = None,
        say: Callable[[str], None] = print,
    ):
        chunk_size = policy.chunk_size
        if n_action_steps is None:
            n_action_steps = max(1, chunk_size // 2) if ensemble_m is None else 1
        check_n_action_steps(n_action_steps, chunk_size)
        self.policy, self.n_action_steps, self.newest_only = policy, n_action_steps, ensemble_m is None
        self.ensemble = TemporalEnsemble(ensemble_m or 0.0, chunk_size)
        self.executor = executor or QueryThread(_lower_priority)
        self.clock, self.say = clock or WallClock(), say
        self.latencies: list[float] = []
        self.reset(0)

    def reset(self, num_envs: int) -> None:
        self._histories: list[deque[_Seen]] = [deque(maxlen=self.policy.n_obs_steps) for _ in range(num_envs)]
        self._t = self._next_query = self._covered = 0  # chunks cover control steps below `_covered`
        self._pending: tuple[int, Future[np.ndarray]] | None = None  # a query of the last episode is dropped with it
        self._action: np.ndarray | None = None
        self.held: list[int] = []
        self.late: list[int] = []
        self.ensemble.reset()

    def warm_up(self, observations: Sequence[Observation], timeout: float = 60.0) -> None:
        """Asks once and ignores the answer, because the first query of a thread is slow.

        Raises TimeoutError when the policy has not answered after `timeout` [s], and its own error when it fails.
        """
        check_readings(observations)
        histories = [[_Seen(obs)] * self.policy.n_obs_steps for obs in observations]
        answer = self.executor.submit(self._answer, histories)
        if not wait([answer], timeout).done:
            raise TimeoutError(
                f"the policy has not answered its first query within {timeout:g} s; is it still loading?"
            )
        answer.result()

    def needs_images(self) -> bool:
        return self.policy.needs_images and (self._t >= self._next_query or self.policy.n_obs_steps > 1)

    def select_action(self, observations: Sequence[Observation]) -> np.ndarray:
        t, self._t = self._t, self._t + 1
        wrong = next(filter(None, map(wrong_reading, observations)), "")
        self._remember(observations, wrong)
        self._collect(t)
        if self._pending is None and t >= self._next_query and not wrong:
            histories = [list(history) for history in self._histories]
            self._pending = t, self.executor.submit(self._query, histories)
            self._next_query = t + self.n_action_steps
        if t < self._covered and not wrong:
            self._action = self.ensemble.action(t)
        else:
            self._hold(t, observations, wrong)
        assert self._action is not None
        return self._action

    def _remember(self, observations: Sequence[Observation], wrong: str) -> None:
        """Adds the observations to the history, or the last sound ones again. ValueError if there are none yet."""
        for history, obs in zip(self._histories, observations, strict=True):
            if wrong and not history:
                raise ValueError(f"the first reading of the episode cannot be used: {wrong}")
            seen = history[-1] if wrong else _Seen(obs)
            history.extend([seen] if history else [seen] * self.policy.n_obs_steps)

    def _collect(self, t: int) -> None:
        """Takes the answer of the running query, if it has arrived."""
        if self._pending is None or not self._pending[1].done():
            return
        asked, answer = self._pending
        self._pending = None
        chunks = answer.result()
        if self.newest_only:
            self.ensemble.reset()
        self.ensemble.add(asked, chunks)
        self._covered = asked + self.policy.chunk_size
        if t >= self._covered:
            if not self.late:
                self.say(f"control step {t}: {self._lateness(t - asked)}")
            self.late.append(t - self._covered + 1)

    def _lateness(self, steps: int) -> str:
        ms, chunk_ms = (round(1e3 * CONTROL_TIMESTEP * n) for n in (steps, self.policy.chunk_size))
        return (
            f"the policy answers too late: this answer took {steps} control steps ({ms} ms), but a chunk lasts only "
            f"{self.policy.chunk_size} ({chunk_ms} ms), so it is over when it arrives; holding position"
        )

    def _query(self, histories: list[list["_Seen"]]) -> np.ndarray:
        """Chunks (B, K, A); measures how long they take."""
        start = self.clock.now()
        chunks = self._answer(histories)
        self.latencies.append(self.clock.now() - start)
        return chunks

    def _answer(self, histories: list[list["_Seen"]]) -> np.ndarray:
        """Chunks (B, K, A). It runs in the thread, so that new images are not encoded in the control loop."""
        new = {id(seen): seen for history in histories for seen in history if "images" in seen.obs}
        for seen, obs in zip(new.values(), remembered(self.policy, [seen.obs for seen in new.values()]), strict=True):
            seen.obs = obs
        answer = self.policy.predict_chunk([[seen.obs for seen in history] for history in histories])
        return checked_chunks(answer, len(histories), self.policy.chunk_size, action_dim_of(self.policy))

    def _hold(self, t: int, observations: Sequence[Observation], wrong: str) -> None:
        if self._action is None:
            qpos = [np.asarray(obs["qpos"]) for obs in observations]
            width = action_dim_of(self.policy)
            self._action = np.stack([resting(joints, width or len(joints)) for joints in qpos])
        if not self.held or self.held[-1] != t - 1:
            last = f"the last one ended at {self._covered - 1}" if self._covered else "none has arrived yet"
            self.say(f"control step {t}: {wrong or f'no chunk of the policy covers it ({last})'}; holding position")
        self.held.append(t)


def _lower_priority() -> None:
    """Gives this thread, and those it starts, less priority than the control loop has; only Linux can do so."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + QUERY_NICE))


class PolicyProcess:
    """A policy, made by `make` (picklable), in a process of its own: it shares no interpreter with the control loop.

    It has the shape of a policy; `predict_chunk` waits for the answer, as a remote policy does. Errors are raised here
    as act.workers.Worker says. Use it as a context manager; a policy that hangs is killed at its end.
    """

    def __init__(self, make: Callable[[], ChunkPolicy]):
        self._worker = Worker(make, "policy process")
        self.chunk_size, self.n_obs_steps, self.needs_images, self.spec = self._worker.call(_shape)

    def predict_chunk(self, histories: Sequence[Sequence[Observation]]) -> np.ndarray:
        return self._worker.call(_predict_chunk, histories)

    def close(self) -> None:
        self._worker.close(ENDING)

    def __enter__(self) -> "PolicyProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _shape(policy: ChunkPolicy) -> tuple[int, int, bool, PolicySpec | None]:
    return policy.chunk_size, policy.n_obs_steps, policy.needs_images, getattr(policy, "spec", None)


def _predict_chunk(policy: ChunkPolicy, histories: Sequence[Sequence[Observation]]) -> np.ndarray:
    return np.asarray(policy.predict_chunk(histories))
