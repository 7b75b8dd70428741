"""Runs train.py, with one more argument in front: the step after which it is interrupted, as by Ctrl-C."""

import sys
from collections.abc import Iterator
from typing import Any

import train
from act.training.fit import Metrics, fit

stop = int(sys.argv.pop(1))


def fit_until(*args: Any, **kwargs: Any) -> Iterator[Metrics]:
    done = 0
    for metrics in fit(*args, **kwargs):
        if done == stop:
            raise KeyboardInterrupt
        yield metrics
        done = metrics.step


train.fit = fit_until  # type: ignore[assignment]
sys.exit(train.main())
