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
SIMULATOR = ("mujoco", "dm_control", "mink")
PHYSICS = (*SIMULATOR, "sim_envs")
HARDWARE = ("dynamixel_sdk", "serial", "real_envs")
TORCH = ("torch", "torchvision")
# The wings of act, floor by floor: a wing imports from lower floors only, never from a neighbour.
FLOORS = (
    (
        *("types", "files", "seeds", "run_folder", "workers", "provenance", "command_line"),
        "distributed",
    ),
    ("nn",),
    ("data",),
    ("policies", "runtime"),
    ("recording", "evaluation", "training", "serving"),
    ("cluster", "interop"),
    ("__main__",),
)
FLOOR_OF = {wing: floor for floor, wings in enumerate(FLOORS) for wing in wings}
# What runs beside a robot, in a recording laptop or in a simulating process: it never imports torch.
TORCHLESS_WINGS = ("runtime", "recording", "evaluation", "cluster", "interop/lerobot", "interop/environments")
TORCHLESS = (
    *("types", "files", "seeds", "run_folder", "workers", "provenance", "command_line"),
    *("data/episodes", "data/images", "data/labels", "data/repair"),
    *("serving/onnx_policy", "serving/client", "serving/wire"),
    *("interop/convert", "interop/exporting", "interop/importing", "interop/work_folder"),
)
POLICIES_MAY_IMPORT = (
    *("act.nn", "act.data.batch", "act.data.normalize", "act.types"),
    *("act.policies.base.policy", "act.policies.base.observing"),
)
FORBIDDEN_NAMES = ["util", "utils", "common", "helper", "helpers", "misc", "manager", "managers", "scripts", "configs"]
LONGEST_FUNCTION = 60  # lines


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def sources(*places: str) -> list[Path]:
    files = [ROOT / place for place in places if place.endswith(".py")]
    files += [file for place in places if not place.endswith(".py") for file in sorted((ROOT / place).rglob("*.py"))]
    return files


ACT, SIM, REAL = sources("act"), sources("sim_envs"), sources("real_envs")
PROGRAM_FILES = sources(*(f"{program}.py" for program in PROGRAMS))
EVERYTHING = [*ACT, *SIM, *REAL, *PROGRAM_FILES, *sources("benchmarks", "tests")]
STARRED = [
    *sources(*(f"act/{name}.py" for name in TORCHLESS), *(f"act/{wing}" for wing in TORCHLESS_WINGS)),
    *SIM,
    *REAL,
]
STARRED += sources("record_sim_episodes.py", "eval.py")


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
    files = {module_name(file): file for file in [*ACT, *SIM, *REAL, *PROGRAM_FILES]}
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


def test_learning_never_imports_the_simulator_and_no_arms():
    assert violations(ACT, (*PHYSICS, *HARDWARE)) == []


def test_the_simulator_never_imports_learning_and_no_arms():
    assert violations(SIM, ("act", *HARDWARE, *TORCH)) == []


def test_real_arms_import_neither_learning_nor_the_simulator():
    assert violations(REAL, ("act", *PHYSICS, *TORCH)) == []


def test_nobody_imports_programs():
    assert violations([*ACT, *SIM, *REAL, *PROGRAM_FILES], PROGRAMS) == []


def test_starred_files_never_import_torch_even_in_a_function():
    assert violations(STARRED, TORCH) == []


def test_starred_files_never_reach_torch_through_others():
    offenders = {module_name(file): sorted(n for n in reached(file) if inside(n, TORCH)) for file in STARRED}
    assert {name: found for name, found in offenders.items() if found} == {}


@pytest.mark.parametrize("name", ["serving/client", "serving/onnx_policy", "runtime/realtime"])
def test_what_answers_on_a_robot_reaches_no_file_format(name: str):
    assert not [found for found in reached(ROOT / "act" / f"{name}.py") if inside(found, ("h5py",))]


def test_the_starred_files_start_without_torch():
    names = [name for name in map(module_name, STARRED) if inside(name, ("act",))]
    program = f"import sys, {', '.join(names)}\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_policies_import_only_networks_batches_and_the_base():
    for file in (ROOT / "act" / "policies").glob("*.py"):
        if file.stem != "__init__":
            ours = {name for name in imports(file) if inside(name, ("act",))}
            allowed = {"act", "act.data", "act.policies", "act.policies.base"}
            assert {name for name in ours - allowed if not inside(name, POLICIES_MAY_IMPORT)} == set(), module_name(
                file
            )


def test_every_wing_of_act_stands_on_a_floor():
    wings = {path.stem for path in (ROOT / "act").iterdir() if path.name not in ("__init__.py", "__pycache__")}
    assert wings == set(FLOOR_OF)


@pytest.mark.parametrize("wing", FLOOR_OF)
def test_a_wing_imports_from_lower_floors_only(wing: str):
    files = sources(f"act/{wing}" if (ROOT / "act" / wing).is_dir() else f"act/{wing}.py")
    ground = FLOOR_OF[wing] == 0  # files of the ground floor may import one another, without circles
    wrong = [
        f"{module_name(file)} imports {name}"
        for file in files
        for name in sorted(imports(file))
        if inside(name, ("act",)) and (other := (name.split(".") + [""])[1]) and other != wing
        if FLOOR_OF[other] > FLOOR_OF[wing] or (FLOOR_OF[other] == FLOOR_OF[wing] and not ground)
    ]
    assert wrong == []


def test_no_module_imports_itself_through_others():
    files = {module_name(file): file for file in [*ACT, *SIM, *REAL]}
    arrows = {name: {found for found in imports(file) if found in files} - {name} for name, file in files.items()}
    packages = {name for name, file in files.items() if file.name == "__init__.py"}
    for name in packages:  # importing a module runs the package around it, which is no arrow of the module's own
        arrows[name] = {found for found in arrows[name] if not found.startswith(f"{name}.")}
    while leaves := {name for name, found in arrows.items() if not found & set(arrows)}:
        arrows = {name: found for name, found in arrows.items() if name not in leaves}
    assert arrows == {}


def test_evaluation_and_recording_start_without_torch_and_without_the_simulator():
    """Their worker processes import them and need no torch; the programs themselves never load the simulator."""
    for program in ("eval", "record_sim_episodes"):
        found = {name for name in reached(ROOT / f"{program}.py") if inside(name, (*TORCH, *SIMULATOR))}
        assert found == set(), program


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
    moved = {"act_programs", "sim_envs.assets"}  # the programs at the root, and assets/: see tests/test_packaging.py
    assert set(packages) - moved == {module_name(file) for file in [*ACT, *SIM, *REAL] if file.name == "__init__.py"}


def test_the_rules_see_imports_in_functions_but_not_those_for_type_checkers():
    source = "def f():\n    import torch\nif TYPE_CHECKING:\n    import mujoco\ntry: import numpy\nfinally: pass"
    body = ast.parse(source).body
    found = [[s.names[0].name for s in statements(body, whole) if isinstance(s, ast.Import)] for whole in (True, False)]
    assert found == [["torch", "numpy"], ["numpy"]]
    assert inside("torch.nn", TORCH) and not inside("torchmetrics", TORCH)
