"""Reads and writes safetensors files: the one place that knows what this library can raise. Files appear whole.

write_with_digest(path, {"weight": weight}, {"state": "{}"})
tensors, header = read_with_digest(path)
"""

import errno
import hashlib
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from act.files import check_regular, whole_file

DIGEST = "digest"  # the key in a header
_FULL = "os error 28"  # how the library names a full disk on Linux and macOS


def write_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    header: Mapping[str, str] | None = None,
    before_replacing: Callable[[Path], None] | None = None,
) -> None:
    """Writes tensors of any device, with texts in the header; the file is whole or not there.

    before_replacing: is called with the complete temporary file just before it becomes `path`.

    Raises OSError, "no space left on device: PATH", when the disk is full, and OSError for other failures.
    """
    stored = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with whole_file(path) as temporary:
        try:
            save_file(stored, temporary, metadata=None if header is None else dict(header))
        except SafetensorError as error:
            number = errno.ENOSPC if _FULL in str(error) else errno.EIO
            raise OSError(number, str(error), str(path)) from None
        if before_replacing is not None:
            before_replacing(temporary)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file, on the CPU, and the texts of its header.

    Raises FileNotFoundError where there is no file, and ValueError, with the path, for one that is no regular file or
    is not whole. What the file declares is compared with its size before anything is allocated.
    """
    check_regular(path)
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
            return tensors, file.metadata() or {}
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} cannot be read: {one_line(error)}") from error


def write_with_digest(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str] | None = None) -> None:
    """Writes tensors, and into the header the digest of them and of its other texts. Errors as `write_tensors`."""
    texts = dict(header or {})
    write_tensors(path, tensors, {**texts, DIGEST: tensors_digest(tensors, _joined(texts))})


def read_with_digest(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads what `write_with_digest` wrote; the header still holds the digest.

    A file of an earlier version has none and is read, too. Raises ValueError, with the path, when a bit has changed;
    other errors as `read_tensors`.
    """
    tensors, header = read_tensors(path)
    if DIGEST in header and header[DIGEST] != tensors_digest(tensors, _joined(header)):
        raise ValueError(
            f"{path} cannot be read: it was changed or damaged: its digest is another one than its header says"
        )
    return tensors, header


def _joined(header: Mapping[str, str]) -> str:
    return "".join(header[name] for name in sorted(header) if name != DIGEST)


def tensors_digest(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """16 hexadecimal digits that change with any name, type, shape or value of the tensors, and with `text`.

    The values enter by their CRC-32, which finds damage as well as a slower digest would.
    """
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        crc = zlib.crc32(value.reshape(-1).view(torch.uint8).numpy().data)
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} {crc};".encode())
    return digest.hexdigest()[:16]


def check_form(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raises ValueError, in one sentence, unless exactly the expected tensors are there, with their types and shapes.

    A tensor without rows in `expected`, such as a memory that is not filled yet, may have any number of rows. Values
    are not read, so `expected` may be on the device "meta".
    """
    missing, unknown = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or unknown:
        what, names = ("lacks the", missing) if missing else ("has the unknown", unknown)
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise ValueError(f"it {what} tensor {names[0]}{others}")
    for name, wanted in expected.items():
        value = tensors[name]
        if value.dtype != wanted.dtype:
            raise ValueError(f"tensor {name} has type {_type(value)}, expected {_type(wanted)}")
        skip = int(wanted.ndim > 0 and len(wanted) == 0)
        if value.ndim != wanted.ndim or value.shape[skip:] != wanted.shape[skip:]:
            raise ValueError(f"tensor {name} has shape {tuple(value.shape)}, expected {tuple(wanted.shape)}")


def check_finite(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor] | None = None) -> None:
    """Raises ValueError naming a tensor with a value that is not finite.

    Where `expected` has infinite values, such as limits that nothing has set yet, infinite values are right, too.
    """
    for name, value in tensors.items():
        if not value.is_floating_point() or bool(torch.isfinite(value).all()):
            continue
        unset = expected is not None and name in expected and bool(torch.isinf(expected[name]).any())
        if not unset or bool(torch.isnan(value).any()):
            raise ValueError(f"tensor {name} has values that are not finite")


def one_line(error: BaseException) -> str:
    """The message of a library's error without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def _type(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")
