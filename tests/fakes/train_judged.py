"""train.py whose rollouts on validation seeds take no time: half of them succeed."""

import contextlib
import sys

import train

train.validation_rollouts = lambda config, spec: contextlib.nullcontext(lambda policy: 0.5)  # type: ignore[assignment]
sys.exit(train.main())
