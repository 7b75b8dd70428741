"""What a results.json must hold so that pages can be made of it: the file may come from anybody."""

from collections.abc import Mapping
from typing import Any

LARGEST = 1e100  # of a number in a file of results; sums of such numbers are finite
TEXT_OR_NONE = (str, type(None))
RATE = {"name": str, "rate": float, "low": float, "high": float}
EPISODE = {"seed": int, "success": bool, "max_reward": float, "env_state0": [float]}
LATENCY = {"queries": int, "batch_size": int, "p50_ms": float, "p99_ms": float, "within_deadline": float}
LATENCY |= {"deadline_ms": float}
NAMES = ("run", "mode", "seed_set", "engine", "demo_style", "backbone_weights", "weights")
# A type, several types, the form of every item of a list, or that of each key; a key with "?" may be absent or null.
# float means any number that is finite and below LARGEST.
FORM: dict[str, Any] = {
    "task": str,
    "objects?": [str],
    "n": int,
    "preliminary": bool,
    "success": RATE,
    "strict_success": RATE,
    "stages": [RATE],
    "mean_return": float,
    "episodes": [EPISODE],
    "seeds": [int],
    "wall_time_s": float,
    "rollouts_per_min": float,
    "latency?": LATENCY,
    "single_query?": LATENCY,
    "settings": {f"{name}?": str for name in NAMES},
    "provenance": {"command": str, "git": TEXT_OR_NONE, "hardware": {}, "versions": {}, "time": str},
}
FILLED = ("seeds",)  # lists that hold at least one item; an environment may have no stages


def misfit(results: Mapping[str, Any]) -> str:
    """Returns the first value of a results.json that cannot be, such as "success.rate is 'x'"; "" if all can be."""
    wrong = _misfit(results, FORM, "")
    return wrong or next((f"{name} is empty" for name in FILLED if not results[name]), "")


def _misfit(value: Any, form: Any, name: str) -> str:
    if isinstance(form, dict):
        return _misfit_of_keys(value, form, name)
    if isinstance(form, list):
        items = enumerate(value) if isinstance(value, list) else ()
        wrong = (_misfit(item, form[0], f"{name}[{number}]") for number, item in items)
        return next(filter(None, wrong), "" if isinstance(value, list) else _said(name, value))
    if form is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return "" if number and abs(value) < LARGEST else _said(name, value)
    right = isinstance(value, form) and (form is not int or not isinstance(value, bool))
    return "" if right else _said(name, value)


def _misfit_of_keys(value: Any, form: dict[str, Any], name: str) -> str:
    if not isinstance(value, dict):
        return _said(name, value)
    for key, inner in form.items():
        key, where = key.removesuffix("?"), f"{name}.{key.removesuffix('?')}".lstrip(".")
        optional = f"{key}?" in form
        if optional and value.get(key) is None:
            continue
        if key not in value:
            return f"{where} is missing"
        if wrong := _misfit(value[key], inner, where):
            return wrong
    return ""


def _said(name: str, value: Any) -> str:
    return f"{name} is {value!r:.40}"
