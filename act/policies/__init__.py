"""Every file in this folder is one policy, registered by its file name; their base classes are in `base/`."""

from importlib import import_module
from pathlib import Path
from types import ModuleType


def available() -> tuple[str, ...]:
    """Names of the policies, sorted."""
    files = (path.stem for path in Path(__file__).parent.glob("*.py"))
    return tuple(sorted(name for name in files if not name.startswith("_")))


def load(name: str) -> ModuleType:
    """The module of policy `name` (any case), with `Config` and `Policy`. Raises ValueError listing the choices."""
    if not isinstance(name, str) or name.lower() not in available():  # a policy.json may hold anything
        raise ValueError(f"unknown policy {name!r}; available: {', '.join(available())}")
    return import_module(f"{__name__}.{name.lower()}")
