"""Runs train.py without rollouts on validation seeds: their success rate is always one half."""

import contextlib
import sys

import train

train.validation_rollouts = lambda config, spec: contextlib.nullcontext(lambda policy: 0.5)  # type: ignore[assignment]
sys.exit(train.main())
