"""50 Hz on the wall clock: environments with deadlines, a robot as an environment, a policy that is asked on the side.

    with ParallelEnvs(make, 1, 1) as simulator:                  # or: envs = RobotEnvs(robot, spec)
        envs, agent = PacedEnvs(simulator), AsyncAgent(policy, ensemble_m=0.01)
        results = list(rollout(envs, agent, seeds=[0]))          # the one loop; recorder and video watch as always
        print(envs.pace.timing(), agent.held)

Nothing here knows of physics or networks; docs/realtime.md says how to bring a robot.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np

from act.runtime.agents import ChunkPolicy, TemporalEnsemble, remembered
from act.runtime.envs import Change, Envs, Start
from act.types import CONTROL_TIMESTEP, EnvSpec, Observation

QUERY_NICE = 10  # more than the control loop's, of the thread that asks the policy


# ------------------------------------------------------------------------------------------------------------ deadlines
class Clock(Protocol):
    """Time [s] and waiting; tests bring their own."""

    def now(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


class WallClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass(frozen=True)
class Timing:
    """Control periods as they were [ms], and how many of them ended late because the work in them took too long."""

    periods: int
    due_ms: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    missed: int

    def __str__(self) -> str:
        return (
            f"{self.periods} control periods of {self.due_ms:g} ms: p50 {self.p50_ms:.2f}, p99 {self.p99_ms:.2f}, "
            f"max {self.max_ms:.2f} ms; {self.missed} deadlines missed"
        )


class Pace:
    """A grid of deadlines, one every `period` [s]; `wait` sleeps until the next.

    Late by less than half a period, the next period is that much shorter and the grid stands; later than that the grid
    moves, since a robot shall never get actions in a rush.
    """

    def __init__(self, clock: Clock | None = None, period: float = CONTROL_TIMESTEP):
        if period <= 0:
            raise ValueError(f"period={period} s: must be positive, e.g. {CONTROL_TIMESTEP}")
        self.clock, self.period = clock or WallClock(), period
        self.durations: list[float] = []  # [s], of all control periods so far
        self.missed = 0
        self.start()

    def start(self) -> None:
        """A period begins now; what was measured before is kept."""
        self._last = self.clock.now()
        self._due = self._last + self.period

    def wait(self) -> None:
        late = self.clock.now() - self._due
        if late > 0:
            self.missed += 1
        else:
            self.clock.sleep(-late)
        now = self.clock.now()
        self.durations.append(now - self._last)
        self._last = now
        self._due = self._due + self.period if late < self.period / 2 else now + self.period

    def timing(self) -> Timing:
        """Of everything since this was made. Raises ValueError when nothing was."""
        if not self.durations:
            raise ValueError("no control period has ended yet, so there is nothing to say of their length")
        ms = 1e3 * np.asarray(self.durations)
        p50, p99, longest = (float(value) for value in np.percentile(ms, (50, 99, 100)))
        return Timing(len(ms), 1e3 * self.period, p50, p99, longest, self.missed)


class PacedEnvs:
    """Simulated environments in real time: `step` returns when its control period is over, not before."""

    def __init__(self, envs: Envs, clock: Clock | None = None, period: float = CONTROL_TIMESTEP):
        self.envs, self.pace = envs, Pace(clock, period)
        self.num_envs, self.env_spec = envs.num_envs, envs.env_spec

    def reset(
        self, seeds: Sequence[int], options: Sequence[dict | None] | None = None, images_due: bool = True
    ) -> list[Start]:
        starts = self.envs.reset(seeds, options, images_due)
        self.pace.start()
        return starts

    def step(self, actions: np.ndarray, images_due: bool = True) -> list[Change]:
        changes = self.envs.step(actions, images_due)
        self.pace.wait()
        return changes

    def close(self) -> None:
        self.envs.close()


class Robot(Protocol):
    """What a robot, or anything that moves by itself, must answer. A method `reset()` is called if there is one."""

    def observe(self) -> Observation:
        """How things are now (act/types.py); arrays that nobody will write into again."""
        ...

    def act(self, action: np.ndarray) -> None:
        """Joint targets (14,); returns at once."""
        ...


class RobotEnvs:
    """One robot as an environment: the action goes out, the control period passes, the observation is taken.

    Rewards are 0: who judges a robot is not known here. An episode ends after `env_spec.episode_len` control steps.
    """

    num_envs = 1

    def __init__(self, robot: Robot, env_spec: EnvSpec, clock: Clock | None = None, period: float = CONTROL_TIMESTEP):
        self.robot, self.env_spec, self.pace = robot, env_spec, Pace(clock, period)
        self._t = 0

    def reset(
        self, seeds: Sequence[int], options: Sequence[dict | None] | None = None, images_due: bool = True
    ) -> list[Start]:
        if hasattr(self.robot, "reset"):
            self.robot.reset()  # type: ignore[attr-defined]
        self._t = 0
        observation = self.robot.observe()
        self.pace.start()
        return [(observation, {})]

    def step(self, actions: np.ndarray, images_due: bool = True) -> list[Change]:
        self.robot.act(actions[0])
        self.pace.wait()
        self._t += 1
        return [(self.robot.observe(), 0.0, False, self._t >= self.env_spec.episode_len, {})]

    def close(self) -> None:
        if hasattr(self.robot, "close"):
            self.robot.close()  # type: ignore[attr-defined]


# ---------------------------------------------------------------------------------------------------------------- agent
@dataclass(eq=False)
class _Seen:
    """An observation of the history, until the thread puts features in the place of its images."""

    obs: Observation


class AsyncAgent:
    """Executes chunks of a policy that is asked in a thread, so that a slow query never delays an action.

    A chunk counts from the control step it was ASKED for, however late it arrives: its first actions are then past. At
    most one query is under way; the next begins at the first control step that is at least `n_action_steps` after the
    last one's and finds the policy free. With `ensemble_m` the action is the mean of all chunks that cover t (default:
    asked as often as it can answer), otherwise the newest chunk's (default: asked every half chunk). Where no chunk
    covers t, position is held: the last action again, qpos before the first; `held` lists these control steps of the
    episode and `say` gets one sentence for each stretch of them. `latencies` collects the duration of every query [s].

    An error in the policy is raised by the next `select_action`.
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
        if not 1 <= n_action_steps <= chunk_size:
            raise ValueError(f"n_action_steps={n_action_steps}: must be 1 to the policy's chunk_size, {chunk_size}")
        self.policy, self.n_action_steps, self.newest_only = policy, n_action_steps, ensemble_m is None
        self.ensemble = TemporalEnsemble(ensemble_m or 0.0, chunk_size)
        self.executor = executor or ThreadPoolExecutor(1, "policy", _after_the_loop)
        self.clock, self.say = clock or WallClock(), say
        self.latencies: list[float] = []
        self.reset(0)

    def reset(self, num_envs: int) -> None:
        self._histories: list[deque[_Seen]] = [deque(maxlen=self.policy.n_obs_steps) for _ in range(num_envs)]
        self._t = self._next_query = self._covered = 0  # chunks cover control steps below `_covered`
        self._pending: tuple[int, Future[np.ndarray]] | None = None  # an answer to the last episode is never looked at
        self._action: np.ndarray | None = None
        self.held: list[int] = []
        self.ensemble.reset()

    def warm_up(self, observations: Sequence[Observation]) -> None:
        """A query whose answer is not used: the first one of a thread is slow."""
        self.executor.submit(self._query, [[_Seen(obs)] * self.policy.n_obs_steps for obs in observations]).result()
        self.latencies.pop()

    def needs_images(self) -> bool:
        return self.policy.needs_images and (self._t >= self._next_query or self.policy.n_obs_steps > 1)

    def select_action(self, observations: Sequence[Observation]) -> np.ndarray:
        for history, obs in zip(self._histories, observations, strict=True):
            history.extend([_Seen(obs)] if history else [_Seen(obs)] * self.policy.n_obs_steps)
        t, self._t = self._t, self._t + 1
        self._collect()
        if self._pending is None and t >= self._next_query:
            histories = [list(history) for history in self._histories]
            self._pending = t, self.executor.submit(self._query, histories)
            self._next_query = t + self.n_action_steps
        if t < self._covered:
            self._action = self.ensemble.action(t)
        else:
            self._hold(t, observations)
        assert self._action is not None
        return self._action

    def _collect(self) -> None:
        """Takes the answer of the query under way, if it is there."""
        if self._pending is None or not self._pending[1].done():
            return
        asked, answer = self._pending
        self._pending = None
        if self.newest_only:
            self.ensemble.reset()
        self.ensemble.add(asked, answer.result())
        self._covered = asked + self.policy.chunk_size

    def _query(self, histories: list[list["_Seen"]]) -> np.ndarray:
        """In the thread: chunks (B, K, A). What is new in the histories is encoded here, not in the control loop."""
        start = self.clock.now()
        new = {id(seen): seen for history in histories for seen in history if "images" in seen.obs}
        for seen, obs in zip(new.values(), remembered(self.policy, [seen.obs for seen in new.values()]), strict=True):
            seen.obs = obs
        chunks = np.asarray(self.policy.predict_chunk([[seen.obs for seen in history] for history in histories]))
        self.latencies.append(self.clock.now() - start)
        return chunks

    def _hold(self, t: int, observations: Sequence[Observation]) -> None:
        if self._action is None:
            self._action = np.stack([obs["qpos"] for obs in observations]).astype(np.float32)
        if not self.held or self.held[-1] != t - 1:
            last = f"the last one ended at {self._covered - 1}" if self._covered else "none has come yet"
            self.say(f"control step {t}: no chunk of the policy covers it ({last}); holding position")
        self.held.append(t)


def _after_the_loop() -> None:
    """Lets the control loop and the simulator go before this thread and those it starts; on Linux, one thread can."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + QUERY_NICE))


# -------------------------------------------------------------------------------------------------------------- process
class PolicyProcess:
    """A policy made by `make` (picklable) in a process of its own, where it shares neither interpreter nor memory.

    It has the shape of a policy; `predict_chunk` waits for the answer, as a remote policy does. Errors of the policy
    are raised here with their traceback. Use as a context manager.
    """

    def __init__(self, make: Callable[[], ChunkPolicy]):
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make), daemon=True)
        self._process.start()
        theirs.close()
        self.chunk_size, self.n_obs_steps, self.needs_images = self._receive()

    def predict_chunk(self, histories: Sequence[Sequence[Observation]]) -> np.ndarray:
        with contextlib.suppress(BrokenPipeError):  # `_receive` says what happened
            self._connection.send(histories)
        return self._receive()

    def _receive(self) -> Any:
        try:
            answer, error = self._connection.recv()
        except (EOFError, ConnectionResetError):
            answer, error = None, "it died (out of memory?)"
        if error is not None:
            self.close()
            raise RuntimeError(f"the policy's process: {error}")
        return answer

    def close(self) -> None:
        self._connection.close()  # which ends it
        self._process.join(timeout=2)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def __enter__(self) -> "PolicyProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _serve(connection: Connection, make: Callable[[], ChunkPolicy]) -> None:
    """What the process does: answers (result, None) or (None, what went wrong)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone
        try:
            policy = make()
            connection.send(((policy.chunk_size, policy.n_obs_steps, policy.needs_images), None))
            while True:
                connection.send((np.asarray(policy.predict_chunk(connection.recv())), None))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:
            connection.send((None, f"{type(error).__name__}: {error}\n{traceback.format_exc()}"))
