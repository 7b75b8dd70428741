"""The rules of the house, by reading the code: who imports whom, names that mean nothing, functions too long."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROGRAMS = ("train", "eval", "record_sim_episodes")
PHYSICS = ("mujoco", "dm_control", "mink", "sim_envs")
TORCH = ("torch", "torchvision")
# Files that run beside a robot, in a recording laptop or in a simulating process: they never import torch.
TORCHLESS = (
    *("types", "files", "images", "episodes", "upkeep", "recorder", "attempts", "recording", "sketches", "scenes"),
    *("rollout", "agents", "video"),
    *("dagger", "operators", "aggregation", "evaluation", "rates", "provenance", "metrics"),
    *("results", "report", "charts", "page", "paper"),
    *("realtime", "engine", "client", "wire"),
)
POLICY_BASES = ("policy", "observing")
POLICIES_MAY_IMPORT = (
    *("act.nn", "act.batch", "act.normalize", "act.types"),
    *(f"act.policies.{base}" for base in POLICY_BASES),
)
FORBIDDEN_NAMES = ["util", "utils", "common", "helper", "helpers", "misc", "manager", "managers", "scripts", "configs"]
LONGEST_FUNCTION = 60  # lines


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def sources(*places: str) -> list[Path]:
    files = [ROOT / place for place in places if place.endswith(".py")]
    files += [file for place in places if not place.endswith(".py") for file in sorted((ROOT / place).rglob("*.py"))]
    return files


ACT, SIM = sources("act"), sources("sim_envs")
PROGRAM_FILES = sources(*(f"{program}.py" for program in PROGRAMS))
EVERYTHING = [*ACT, *SIM, *PROGRAM_FILES, *sources("benchmarks", "tests")]
STARRED = [*sources(*(f"act/{name}.py" for name in TORCHLESS)), *SIM, *sources("act/cluster", "record_sim_episodes.py")]


def statements(body: list[ast.stmt], whole: bool) -> Iterator[ast.stmt]:
    """Statements that run on import (with `whole`, those inside functions too); not those for type checkers only."""
    for statement in body:
        if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            continue
        yield statement
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)) and not whole:
            continue
        for part in ("body", "orelse", "finalbody"):
            yield from statements(getattr(statement, part, []), whole)
        for handler in getattr(statement, "handlers", []):
            yield from statements(handler.body, whole)


@cache
def imports(path: Path, whole: bool = True) -> frozenset[str]:
    """Dotted names a file imports; `from a.b import c` gives a.b and a.b.c (c may be a module)."""
    names: set[str] = set()
    package = module_name(path).split(".")[: None if path.name == "__init__.py" else -1]
    for statement in statements(ast.parse(path.read_text()).body, whole):
        if isinstance(statement, ast.Import):
            names.update(alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            above = package[: len(package) - statement.level + 1] if statement.level else []
            base = ".".join([*above, *([statement.module] if statement.module else [])])
            names.update({base, *(f"{base}.{alias.name}" for alias in statement.names)})
    return frozenset(names)


def reached(path: Path) -> frozenset[str]:
    """Everything that importing `path` imports, through our own files."""
    files = {module_name(file): file for file in [*ACT, *SIM, *PROGRAM_FILES]}
    names: set[str] = set()
    waiting = set(imports(path, whole=False))
    while waiting:
        name = waiting.pop()
        names.add(name)
        parents = {".".join(name.split(".")[:depth]) for depth in range(1, name.count(".") + 1)}
        found = parents | (set(imports(files[name], whole=False)) if name in files else set())
        waiting |= found - names
    return frozenset(names)


def inside(name: str, modules: tuple[str, ...]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def violations(files: list[Path], forbidden: tuple[str, ...]) -> list[str]:
    return [
        f"{module_name(file)} imports {name}"
        for file in files
        for name in sorted(imports(file))
        if inside(name, forbidden)
    ]


def test_learning_never_imports_the_simulator():
    assert violations(ACT, PHYSICS) == []


def test_the_simulator_never_imports_learning():
    assert violations(SIM, ("act", *TORCH)) == []


def test_nobody_imports_programs():
    assert violations([*ACT, *SIM, *PROGRAM_FILES], PROGRAMS) == []


def test_starred_files_never_import_torch_even_in_a_function():
    assert violations(STARRED, TORCH) == []


def test_starred_files_never_reach_torch_through_others():
    offenders = {module_name(file): sorted(n for n in reached(file) if inside(n, TORCH)) for file in STARRED}
    assert {name: found for name, found in offenders.items() if found} == {}


@pytest.mark.parametrize("name", ["client", "engine", "realtime"])
def test_what_answers_on_a_robot_reaches_no_file_format(name: str):
    assert not [found for found in reached(ROOT / "act" / f"{name}.py") if inside(found, ("h5py",))]


def test_the_starred_files_start_without_torch():
    names = [name for name in map(module_name, STARRED) if inside(name, ("act",))]
    program = f"import sys, {', '.join(names)}\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_policies_import_only_networks_batches_and_the_base():
    for file in sources("act/policies"):
        if file.stem not in ("__init__", *POLICY_BASES):
            ours = {name for name in imports(file) if inside(name, ("act",))} - {"act", "act.policies"}
            assert {name for name in ours if not inside(name, POLICIES_MAY_IMPORT)} == set(), module_name(file)


def test_networks_know_nothing_of_policies_and_training():
    above = ("policies", "batch", "dataset", "normalize", "augment", "config", "training", "checkpoint", "evaluation")
    assert violations(sources("act/nn"), tuple(f"act.{name}" for name in above)) == []


def test_the_evaluation_program_starts_without_torch_and_without_the_simulator():
    """Its simulating processes import it and need no torch; itself needs no simulator, which must not precede torch."""
    assert not any(inside(name, (*TORCH, *PHYSICS)) for name in reached(ROOT / "eval.py"))


@pytest.mark.parametrize("name", FORBIDDEN_NAMES)
def test_no_file_or_folder_has_a_name_that_means_nothing(name: str):
    assert [str(file) for file in EVERYTHING if name in file.relative_to(ROOT).with_suffix("").parts] == []


def test_functions_fit_on_a_screen():
    long = []
    for file in EVERYTHING:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or 0) - node.lineno + 1
                long += [f"{module_name(file)}.{node.name}: {lines} lines"] * (lines > LONGEST_FUNCTION)
    assert long == []


def test_every_module_says_what_it_is_for():
    empty = [
        module_name(f) for f in EVERYTHING if f.read_text().strip() and not ast.get_docstring(ast.parse(f.read_text()))
    ]
    assert empty == []


def test_every_package_is_installed():
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert set(packages) == {module_name(file) for file in [*ACT, *SIM] if file.name == "__init__.py"}


def test_the_rules_see_imports_in_functions_but_not_those_for_type_checkers():
    source = "def f():\n    import torch\nif TYPE_CHECKING:\n    import mujoco\ntry: import numpy\nfinally: pass"
    body = ast.parse(source).body
    found = [[s.names[0].name for s in statements(body, whole) if isinstance(s, ast.Import)] for whole in (True, False)]
    assert found == [["torch", "numpy"], ["numpy"]]
    assert inside("torch.nn", TORCH) and not inside("torchmetrics", TORCH)
