"""Programs that the pages in docs/ show: they run as they stand there."""

import re
import subprocess
import sys
from pathlib import Path

from act.checkpoint import save_policy
from act.policies import act
from act.policies.policy import DataSpec

ROOT = Path(__file__).parents[1]


def test_the_program_of_the_page_on_evaluation_runs(tmp_path: Path):
    page = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    config = act.Config(6, 16, 32, 2, 1, 2, use_cvae=False, use_images=False, use_env_state=True)
    spec = DataSpec(env_state_dim=7)
    save_policy(tmp_path / "run", act.Policy(config, spec, spec.normalizer()), {"step": 1})
    for shown, here in (("runs/demo", str(tmp_path / "run")), ("[:50]", "[:2]"), ("num_envs=8", "num_envs=2")):
        assert shown in program
        program = program.replace(shown, here)
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert re.match(r"0\.0 % \(0\.0-\d+\.\d, 0 of 2\)", done.stdout), done.stderr
