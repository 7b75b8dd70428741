"""Reads columns of LeRobot's Parquet files as NumPy arrays; pyarrow, an optional extra, is imported when needed."""

from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np


def arrow() -> Any:
    """Returns the module pyarrow. Raises ValueError, saying how to install it, where it is missing."""
    try:
        import_module("pyarrow.parquet")
        return import_module("pyarrow")
    except ImportError:
        raise ValueError("LeRobot's data sets need pyarrow; install it: pip install 'act-aloha[lerobot]'") from None


def read_table(path: Path, columns: Sequence[str] | None = None) -> Any:
    """Returns the columns of a Parquet file as a pyarrow Table, those of `columns` that it has, or all.

    Raises ValueError, with the path and the reason, for a file that is missing or damaged.
    """
    with _Reading(path), arrow().parquet.ParquetFile(path) as file:
        chosen = [name for name in columns if name in file.schema_arrow.names] if columns is not None else None
        return file.read(columns=chosen, use_threads=False)


def column_names(path: Path) -> list[str]:
    """Returns the names of the columns of a Parquet file. Raises ValueError like `read_table`."""
    with _Reading(path), arrow().parquet.ParquetFile(path) as file:
        return list(file.schema_arrow.names)


def iterate_rows(path: Path, column: str, start: int, stop: int) -> Iterator[Any]:
    """Yields the values of `column` in rows start..stop-1 as Python objects; one row group is in memory at a time.

    Raises ValueError like `read_table`.
    """
    with _Reading(path), arrow().parquet.ParquetFile(path) as file:
        first = 0
        for group in range(file.num_row_groups):
            behind = first + file.metadata.row_group(group).num_rows
            if first < stop and behind > start:
                values = file.read_row_group(group, columns=[column], use_threads=False).column(0)
                for value in values.slice(max(start - first, 0), min(stop, behind) - max(start, first)):
                    yield value.as_py()
            first = behind


def numbers(table: Any, name: str, path: Path) -> np.ndarray:
    """Returns column `name` of a table as an array, (T,) of scalars or (T, W) of lists with W numbers each.

    Raises ValueError for a column that is missing, has gaps, or holds anything but lists of one length.
    """
    if name not in table.column_names:
        raise ValueError(f"{path}: no column {name!r}; it has {', '.join(table.column_names)}")
    values, rows = table.column(name).combine_chunks(), len(table)
    nested = False
    while values.null_count == 0 and arrow().types.is_nested(values.type) and hasattr(values, "flatten"):
        if arrow().types.is_struct(values.type):
            break
        lengths = {stop - start for start, stop in _bounds(values)}
        if len(lengths) > 1:
            raise ValueError(f"{path}: column {name!r} has lists of different lengths")
        values, nested = values.flatten(), True
    if values.null_count or not _is_number(values.type):
        raise ValueError(f"{path}: column {name!r} has type {values.type} or empty rows, expected numbers")
    array = values.to_numpy(zero_copy_only=False)
    return array.reshape(rows, -1) if nested else array


def texts(table: Any, name: str, path: Path) -> list[Any]:
    """Returns column `name` as a list of Python objects. Raises ValueError when the table has no such column."""
    if name not in table.column_names:
        raise ValueError(f"{path}: no column {name!r}; it has {', '.join(table.column_names)}")
    return table.column(name).to_pylist()


def _bounds(values: Any) -> Iterable[tuple[int, int]]:
    """Returns start and stop of every list of an array of lists."""
    if arrow().types.is_fixed_size_list(values.type):
        return [(0, values.type.list_size)]
    offsets = values.offsets.to_numpy()
    return zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)


def _is_number(kind: Any) -> bool:
    types = arrow().types
    return types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)


class _Reading:
    """Turns what pyarrow raises for a missing or damaged file into a ValueError with the path."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> None:
        self.expected = (OSError, MemoryError, UnicodeError, arrow().ArrowException)
        if not self.path.is_file():
            raise ValueError(f"{self.path} is missing; the data set is not complete")

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, self.expected):
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ValueError(f"{self.path}: not a readable Parquet file ({reason})") from None
