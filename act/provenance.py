"""Where a number comes from: command line, commit, machine, versions. Written beside every result."""

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
NVIDIA = Path("/proc/driver/nvidia/gpus")  # the driver's account of its GPUs (Linux)


def provenance() -> dict[str, Any]:
    """Where a number comes from: the command line, the commit, the machine, the versions and the time (UTC)."""
    return {
        "command": f"{Path(sys.executable).name} {_program()} {shlex.join(sys.argv[1:])}".rstrip(),
        "git": git_commit(),
        "hardware": hardware(),
        "versions": {"python": platform.python_version(), **_versions()},
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _program() -> str:
    """As it is called from the root of this repository: "-m act report" of a module, else the file."""
    module = getattr(sys.modules["__main__"], "__spec__", None)
    if module is not None:
        return f"-m {module.name.removesuffix('.__main__')}"
    path, root = Path(sys.argv[0]), Path(__file__).resolve().parent.parent
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def git_commit() -> str | None:
    """The commit of the tree this file is in, with "+changes" when the tree differs from it; None without git.

    Results and words about them may differ: a benchmark's first number does not make its second one suspect.
    """
    told = [f":(top,exclude){path}" for path in ("benchmarks/results", "benchmarks/LOG.md", "docs", "README.md")]
    try:
        head = _git("rev-parse", "HEAD")
        changes = _git("status", "--porcelain", "--untracked-files=no", "--", ":(top)", *told)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+changes" if changes else "")


def hardware() -> dict[str, Any]:
    """The CPU's model name, the cores this process may use, and the GPU: torch's, or the machine's without torch."""
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
