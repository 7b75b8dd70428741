"""Describes where a result comes from: command line, commit, machine and versions. Every result file stores it."""

import platform
import shlex
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from act.workers import available_cores

DISTRIBUTIONS = ("mujoco", "dm_control", "gymnasium", "numpy", "torch", "torchvision", "opencv-python-headless")
NVIDIA = Path("/proc/driver/nvidia/gpus")  # where the driver lists its GPUs (Linux)


def provenance() -> dict[str, Any]:
    """Returns the command line, the commit, the hardware, the versions and the time (UTC) of this process."""
    return {
        "command": f"{Path(sys.executable).name} {_program()} {shlex.join(sys.argv[1:])}".rstrip(),
        "git": git_commit(),
        "hardware": hardware(),
        "versions": {"python": platform.python_version(), **_versions()},
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _program() -> str:
    """Returns the program as called from the root of the repository: "-m act report" for a module, else its file."""
    module = getattr(sys.modules["__main__"], "__spec__", None)
    if module is not None:
        return f"-m {module.name.removesuffix('.__main__')}"
    path, root = Path(sys.argv[0]), Path(__file__).resolve().parent.parent
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def git_commit() -> str | None:
    """Returns the commit of this checkout, with "+changes" when its files differ from the commit; None without git.

    Changes to results and documentation do not count, because a benchmark writes them while it runs.
    """
    excluded = [f":(top,exclude){path}" for path in ("benchmarks/results", "benchmarks/LOG.md", "docs", "README.md")]
    try:
        head = _git("rev-parse", "HEAD")
        changes = _git("status", "--porcelain", "--untracked-files=no", "--", ":(top)", *excluded)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+changes" if changes else "")


def hardware() -> dict[str, Any]:
    """Returns the CPU's model name, the number of cores this process may use, and the name of the GPU, or None.

    When torch is loaded the GPU is the one torch uses, otherwise the first one of the machine.
    """
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {"cpu": models[0] if models else platform.processor(), "cores": available_cores(), "gpu": _gpu()}


def _gpu() -> str | None:
    if (torch := sys.modules.get("torch")) is not None:
        return torch.cuda.get_device_name() if torch.cuda.is_available() else None
    for about in sorted(NVIDIA.glob("*/information")):
        for line in about.read_text().splitlines():
            if line.startswith("Model:"):
                return line.split(":", 1)[1].strip()
    return None


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=Path(__file__).parent, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _versions() -> dict[str, str]:
    versions = {}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
