"""The claims of docs/failure_modes.md as inequalities over the results, each with a bound that leaves a margin."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

Results = Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]  # experiment, condition, measure -> one per seed


class Claim(NamedTuple):
    """The mean of `measure` over training seeds is above or below a bound."""

    experiment: str
    text: str
    condition: str
    measure: str
    relation: Literal[">", "<"]
    bound: float

    def judge(self, results: Results) -> dict[str, Any]:
        """Returns "claim", "asks", "is" (the measured mean) and "holds"."""
        value = float(np.mean(results[self.experiment][self.condition][self.measure]))
        asks = f"{self.experiment}: {self.condition}: {self.measure} {self.relation} {self.bound}"
        holds = value > self.bound if self.relation == ">" else value < self.bound
        return {"claim": self.text, "asks": asks, "is": value, "holds": holds}


_BY_EXPERIMENT: dict[str, list[tuple[str, str, str, Literal[">", "<"], float]]] = {
    "exact": [
        ("One action at a time never leaves the pause", "pause, l1, first", "steps at 100", "<", 0),
        ("Chunks up to half the pause do not either", "pause, l1, chunk", "steps at 10", "<", 0),
        ("Longer ones do", "pause, l1, chunk", "steps at 11", ">", 0),
        ("Ensembled they have to be longer still", "pause, l1, ensemble", "steps at 12", "<", 0),
        ("Ensembled long chunks do", "pause, l1, ensemble", "steps at 15", ">", 0),
    ],
    "road": [
        ("Clean demonstrations are copied almost without error", "bc", "error", "<", 0.01),
        ("and the copy leaves the road", "bc", "alive at 200", "<", 0.4),
        ("Four times as many demonstrations change nothing", "more demos", "alive at 200", "<", 0.4),
        ("Nor does an expressive head", "expressive head", "alive at 200", "<", 0.4),
        ("DART keeps to the road", "dart", "alive at 200", ">", 0.9),
        ("DAgger does, with as many labels as cloning", "dagger", "alive at 200", ">", 0.9),
        ("Noisy demonstrations show the way back", "noisy demos", "alive at 200", ">", 0.6),
    ],
    "detour": [
        ("The mean of two ways hits the obstacle", "l2", "success", "<", 0.1),
        ("with more demonstrations too", "more demos", "success", "<", 0.1),
        ("and with DART", "dart", "success", "<", 0.1),
        ("and with DAgger", "dagger", "success", "<", 0.1),
        ("The median takes the majority's way", "l1", "success", ">", 0.7),
        ("and only that", "l1", "below", "<", 0.05),
        ("Numbers drawn one by one do not make a way", "categorical per number", "coverage", "<", 0.8),
        ("Chunks drawn whole do", "categorical joint", "coverage", ">", 0.85),
        ("A mixture goes both ways", "gmm", "below", ">", 0.15),
        ("z = 0 goes one way at most", "act, z = 0", "below", "<", 0.05),
        ("z ~ N(0, I) goes both", "act, z ~ N", "below", ">", 0.05),
        ("A small VAE at z = 0 goes one way at most", "vae, z = 0", "below", "<", 0.05),
        ("and both at z ~ N(0, I)", "vae, z ~ N", "below", ">", 0.05),
        ("Diffusion goes both ways", "diffusion", "below", ">", 0.12),
        ("Flow matching goes both ways", "flow", "below", ">", 0.12),
        ("Two-step regression is deterministic and goes one way", "two-step regression", "below", "<", 0.05),
        ("A learner that sees the side needs no distribution", "sensor", "coverage", ">", 0.9),
    ],
    "corridor": [
        ("All arrive where the goal is visible", "sensor", "success", ">", 0.9),
        ("Cloning fails where the goal is visible late", "dagger, shown after 50%", "round 0", "<", 0.7),
        ("Three times as many demonstrations change nothing", "more demos, shown after 50%", "success", "<", 0.7),
        ("DAgger learns to wait for the information", "dagger, shown after 50%", "round 4", ">", 0.9),
        ("unless it comes too late to act on", "dagger, shown after 90%", "round 4", "<", 0.7),
        ("and then DART does not help either", "dart, shown after 90%", "success", "<", 0.7),
        ("More demonstrations do not help once the cue is gone", "cue, more demos", "success", "<", 0.7),
        ("nor does DAgger", "cue, dagger", "round 4", "<", 0.7),
        ("A chunk that begins while the cue is visible remembers it", "cue, chunks", "success", ">", 0.9),
        ("Past observations help", "cue, history", "success", ">", 0.9),
        ("and so does a sensor that stays", "cue, sensor", "success", ">", 0.9),
    ],
}
CLAIMS = [Claim(experiment, *row) for experiment, rows in _BY_EXPERIMENT.items() for row in rows]
