"""RUN/metrics.jsonl, one line per act.training.Metrics, as everybody reads it who shows or resumes a run."""

import json
from pathlib import Path
from typing import Any

FILE = "metrics.jsonl"


def read_metrics(run: Path | str) -> list[dict[str, Any]]:
    """Its lines, none where there is no file; a last line that is still being written, or was cut off, is ignored."""
    path = Path(run) / FILE
    lines = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines
