# MuJoCo's compiled bindings carry no types that pyright can read.
from typing import Any

def __getattr__(name: str) -> Any: ...
