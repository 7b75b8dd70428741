"""What must come out, as inequalities over the results: each names what was measured, and how wide the margin is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Results = Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]  # experiment, condition, measure -> one per seed


@dataclass(frozen=True)
class Claim:
    """`measure` of a condition, as a mean over seeds, is above or below a bound."""

    text: str
    experiment: str
    condition: str
    measure: str
    relation: Literal[">", "<"]
    bound: float

    def value(self, results: Results) -> float:
        """What was measured."""
        return float(np.mean(results[self.experiment][self.condition][self.measure]))

    def holds(self, results: Results) -> bool:
        value = self.value(results)
        return value > self.bound if self.relation == ">" else value < self.bound


Row = tuple[str, str, str, Literal[">", "<"], float]  # a Claim without its experiment


def _claims(experiment: str, *rows: Row) -> list[Claim]:
    return [Claim(row[0], experiment, *row[1:]) for row in rows]


CLAIMS = [
    *_claims(
        "exact",
        ("Without recovery the cost grows with the square of the horizon", "cliff chain, cloned", "slope", ">", 1.8),
        ("With recovery it grows with the horizon", "cliff chain, recovers", "slope", "<", 1.1),
        ("One action at a time never leaves the pause", "pause, l1, first", "steps at 100", "<", 0),
        ("Chunks up to half the pause do not either", "pause, l1, chunk", "steps at 10", "<", 0),
        ("Longer ones do", "pause, l1, chunk", "steps at 11", ">", 0),
        ("Ensembled they have to be longer still", "pause, l1, ensemble", "steps at 12", "<", 0),
        ("Ensembled long chunks do", "pause, l1, ensemble", "steps at 15", ">", 0),
        ("Its own past actions predict the demonstrations almost surely", "delusion, 100 steps", "nll", "<", 0.02),
        ("and reach the goal no better than chance (1 of 4)", "delusion, 100 steps", "success", "<", 0.3),
    ),
    *_claims(
        "road",
        ("Clean demonstrations are copied almost without error", "bc", "error", "<", 0.01),
        ("and the copy leaves the road", "bc", "alive at 200", "<", 0.4),
        ("Four times as many demonstrations change nothing", "more demos", "alive at 200", "<", 0.4),
        ("Nor does an expressive head", "expressive head", "alive at 200", "<", 0.4),
        ("DART keeps to the road", "dart", "alive at 200", ">", 0.9),
        ("DAgger does, with as many labels as cloning", "dagger", "alive at 200", ">", 0.9),
        ("Noisy demonstrations show the way back", "noisy demos", "alive at 200", ">", 0.6),
    ),
    *_claims(
        "detour",
        ("The mean of two ways hits the obstacle", "l2", "success", "<", 0.1),
        ("with more demonstrations too", "more demos", "success", "<", 0.1),
        ("and with DART", "dart", "success", "<", 0.1),
        ("and with DAgger", "dagger", "success", "<", 0.1),
        ("The median takes the majority's way", "l1", "success", ">", 0.7),
        ("and only that", "l1", "below", "<", 0.05),
        ("Numbers drawn one by one do not make a way", "categorical per number", "coverage", "<", 0.8),
        ("Chunks drawn whole do", "categorical joint", "coverage", ">", 0.85),
        ("A mixture knows both ways", "gmm", "below", ">", 0.15),
        ("z = 0 knows one at most", "act, z = 0", "below", "<", 0.05),
        ("z ~ N(0, I) knows both", "act, z ~ N", "below", ">", 0.05),
        ("A small VAE at z = 0 knows one at most", "vae, z = 0", "below", "<", 0.05),
        ("and both at z ~ N(0, I)", "vae, z ~ N", "below", ">", 0.05),
        ("Diffusion knows both", "diffusion", "below", ">", 0.12),
        ("Flow matching knows both", "flow", "below", ">", 0.12),
        ("Two-step regression, without chance, knows one way", "two-step regression", "below", "<", 0.05),
        ("Who is told the side needs no distribution", "sensor", "coverage", ">", 0.9),
    ),
    *_claims(
        "corridor",
        ("With the goal in sight all arrive", "sensor", "success", ">", 0.9),
        ("Without it at first cloning fails", "dagger, shown after 50%", "round 0", "<", 0.7),
        ("Three times as many demonstrations change nothing", "more demos, shown after 50%", "success", "<", 0.7),
        ("DAgger learns to wait for the information", "dagger, shown after 50%", "round 4", ">", 0.9),
        ("unless it comes too late to act on", "dagger, shown after 90%", "round 4", "<", 0.7),
        ("which DART does not mend either", "dart, shown after 90%", "success", "<", 0.7),
        ("A cue that is gone is no help to who forgets", "cue, more demos", "success", "<", 0.7),
        ("nor is DAgger", "cue, dagger", "round 4", "<", 0.7),
        ("A chunk begun while the cue is in sight remembers it", "cue, chunks", "success", ">", 0.9),
        ("Memory does", "cue, history", "success", ">", 0.9),
        ("and so is a sensor that stays", "cue, sensor", "success", ">", 0.9),
    ),
]
