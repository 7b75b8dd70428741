"""The success rate of a policy while it is trained, on validation seeds; test seeds are never used to choose."""

from collections.abc import Callable, Sequence
from types import TracebackType

import gymnasium

from act.evaluation.evaluate import evaluate
from act.runtime.agents import ChunkPolicy, PolicyAgent
from act.runtime.checks import check_fits
from act.runtime.envs import ParallelEnvs
from act.seeds import VALIDATION_SEEDS
from act.types import PolicySpec
from act.workers import available_cores

ENVS_PER_CORE = 8  # environments that share one query of the policy


class ValidationRollouts:
    """Rolls policies out and returns their success rate, 0..1; its environments live as long as the training.

    make_env: makes one environment, in a worker process, so it must be picklable. seeds: one rollout per seed.
    num_workers: processes that simulate.

    Example:
        make_env = partial(sim_envs.make, "transfer_cube", cameras=("top",), image_size=(240, 320))
        with ValidationRollouts(make_env, VALIDATION_SEEDS[:50]) as success_rate:
            print(success_rate(policy))
    """

    def __init__(
        self,
        make_env: Callable[[], gymnasium.Env],
        seeds: Sequence[int] = VALIDATION_SEEDS[:50],
        num_workers: int | None = None,
    ):
        if not seeds:
            raise ValueError("no seeds to validate on: give at least one, e.g. VALIDATION_SEEDS[:50]")
        num_workers = available_cores() if num_workers is None else num_workers
        self.seeds = seeds
        self._envs = ParallelEnvs(make_env, min(len(seeds), ENVS_PER_CORE * num_workers), num_workers)

    def __call__(self, policy: ChunkPolicy) -> float:
        """The share of the seeds on which the policy succeeds, executed chunk by chunk."""
        return evaluate(self._envs, PolicyAgent(policy), self.seeds, progress=False).success.rate

    def check(self, spec: PolicySpec) -> None:
        """Raises ValueError, in one sentence, when a policy of this spec cannot be judged in these environments.

        Training calls it before its first step, because the first rollouts come much later.
        """
        obs, _ = self._envs.reset(self.seeds[:1], images_due=bool(spec.cameras))[0]
        check_fits(spec, obs, self._envs.action_dim, self._envs.env_spec.task_name)

    def __enter__(self) -> "ValidationRollouts":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._envs.close()
