"""Reads a pickle of NumPy arrays, and of nothing else: a pickle can otherwise run any program when it is read."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

_MODULES = ("numpy._core", "numpy.core")
_ALLOWED = {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}
_ALLOWED |= {(f"{module}.multiarray", name) for module in _MODULES for name in ("_reconstruct", "scalar")}
_ALLOWED |= {(f"{module}.numeric", "_frombuffer") for module in _MODULES}


class _Unpickler(pickle.Unpickler):
    """Finds the few functions of which pickles of arrays consist."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, and only NumPy arrays are read")
        return super().find_class(module, name)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Returns the dictionary of arrays that a pickle holds.

    Raises ValueError, with the path and the reason, for a file that cannot be read or names anything else.
    """
    try:
        with path.open("rb") as file:
            values = _Unpickler(file).load()
    except Exception as error:  # a damaged pickle raises almost anything
        raise ValueError(f"{path}: not a readable pickle of NumPy arrays ({error})") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: holds {type(values).__name__}, expected a dictionary of arrays")
    return {str(name): np.asarray(value) for name, value in values.items() if isinstance(value, np.ndarray)}
