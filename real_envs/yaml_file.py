"""Reads YAML files that may be anything."""

import stat
from pathlib import Path
from typing import Any

MOST_BYTES = 20_000  # of a description; those of this project have about 2,000
MOST_VALUES = 10_000  # with every alias (*name) written out: ten lines of aliases can stand for gigabytes


def read_mapping(path: Path) -> dict[str, Any]:
    """Returns the mapping that a YAML file holds.

    Raises ValueError, one line without the path, for anything else, and OSError for a file that cannot be opened.
    """
    import yaml  # here, because programs without such files need not have it

    about = path.stat()
    if not stat.S_ISREG(about.st_mode) or about.st_size > MOST_BYTES:
        raise ValueError(f"it is no regular file of at most {MOST_BYTES} bytes")
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        if node is not None and count_values(node, {}) > MOST_VALUES:
            raise ValueError(f"it holds more than {MOST_VALUES} values")
        values = loader.construct_document(node) if node is not None else None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: also text that is no UTF-8
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError:
        raise ValueError("its lists or mappings are too deep, or contain themselves") from None
    if not isinstance(values, dict):
        raise ValueError(f"it holds a {type(values).__name__}, and no mapping of names to values")
    return values


def count_values(node: Any, known: dict[int, int]) -> int:
    """Returns how many values a YAML node stands for; `known` keeps those of nodes that several aliases name."""
    if id(node) not in known:
        pairs = node.value if isinstance(node.value, list) else ()
        children = [child for pair in pairs for child in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(count_values(child, known) for child in children)
    return known[id(node)]
