"""Rows of results without a training."""

from benchmarks.grid import Cell, Method, Options, Row

ACT = Method("ACT", "act", modes=("chunk", "ensemble"))


def row(method: Method, rewards: str, task: str = "transfer_cube", style: str = "scripted", **more) -> Row:
    """A row of results; `more`: seed, mode."""
    seed, mode = more.get("seed", 0), more.get("mode", "chunk")
    cell = Cell(method, task, style, "state", seed, Options().steps_of(method, task))
    made = {"method": method.name, "recipe": cell.recipe, "train_seed": seed, "mode": mode, "policy": method.policy}
    made |= {"task": task, "style": style}
    made |= {"n_action_steps": cell.every(mode), "chunk_size": method.chunk_size, "steps": cell.steps, "track": "state"}
    made |= {"n": len(rewards), "first_seed": 2_000_000, "rewards": rewards, "strict": "0" * len(rewards)}
    made |= {"stages": list("abcd"), "single_query": {"p50_ms": 5.0, "p99_ms": 30.0}, "commands": ["train", "eval"]}
    made |= {"train_s": 100.0, "eval_s": 50.0, "train_commit": "c"}
    return made | {"provenance": {"git": "c", "hardware": {"cpu": "toy"}, "versions": {}}}
