"""Runs train.py without rollouts on validation seeds: their success rate is always one half."""

import contextlib
import sys

import train
from act.policies.base.policy import Policy
from act.types import PolicySpec


class OneHalf:
    """Takes the place of ValidationRollouts."""

    def check(self, spec: PolicySpec) -> None:
        """Every policy fits."""

    def __call__(self, policy: Policy) -> float:
        return 0.5


train.validation_rollouts = lambda config, spec: contextlib.nullcontext(OneHalf())  # type: ignore[assignment]
sys.exit(train.main())
