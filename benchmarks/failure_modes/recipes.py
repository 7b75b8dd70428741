"""Who learns what from whom: a recipe is one condition, and the tables below are the experiments."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from act.runtime.agents import PolicyAgent
from benchmarks.failure_modes.learning import Head, drive, imitation_error, train
from benchmarks.failure_modes.worlds import Corridor, Detour, Road, World

N_PATHS = 30  # episodes whose states are kept for the drawings
Paths = dict[str, dict[str, np.ndarray]]  # experiment, condition -> states (N_PATHS, T + 1, S)


@dataclass(frozen=True)
class Recipe:
    """One condition: the world, the demonstrations, the learner, how it acts, how it is judged."""

    world: World
    head: Head
    n_demos: int
    demo_noise: float = 0.0  # that disturbs the demonstrations
    jitter: float = 0.0  # that DART adds to what the demonstrator executes
    rounds: int = 0  # of DAgger: the learner drives, the expert says what it would have done
    per_round: int = 0  # episodes in each
    history: int = 1  # observations the learner sees
    chunk_size: int = 1
    n_action_steps: int | None = None  # of each chunk; None: all
    rollouts: int = 200
    test_len: int | None = None  # control steps of a test episode, None: as the demonstrations

    @property
    def cost(self) -> int:
        """Optimizer steps in all."""
        return self.head.steps * (self.rounds + 1)

    def quick(self) -> "Recipe":
        """The same with a third of the training, fewer rollouts, half of the road."""
        head = replace(self.head, steps=self.head.steps // 3)
        return replace(self, head=head, rollouts=60, test_len=self.test_len and self.test_len // 2)


def attempt(recipe: Recipe, seed: int) -> tuple[dict[str, float], np.ndarray]:
    """Demonstrates, trains, judges. Rates with "error" (RMS of the first action on fresh demonstrations) and "round r"
    (success after r rounds of DAgger); and the states of some judged episodes (N_PATHS, T + 1, S)."""
    rng, judge = np.random.default_rng((seed, 0)), np.random.default_rng((seed, 1))
    go = partial(drive, recipe.world, history=recipe.history)
    episodes = go(None, recipe.n_demos, rng, recipe.demo_noise, recipe.jitter).episodes()

    def study() -> tuple[PolicyAgent, np.ndarray, dict[str, float]]:
        learner = train(recipe.head, episodes, recipe.chunk_size, seed)
        agent = PolicyAgent(learner, recipe.n_action_steps)
        states = go(agent, recipe.rollouts, judge, episode_len=recipe.test_len).states
        return agent, states, recipe.world.measure(states)

    agent, states, measured = study()
    rounds = {"round 0": measured["success"]}
    for number in range(recipe.rounds):
        episodes += go(agent, recipe.per_round, rng).labelled(recipe.world, recipe.chunk_size)
        agent, states, measured = study()
        rounds[f"round {number + 1}"] = measured["success"]
    error = imitation_error(agent.policy, go(None, 20, judge, recipe.demo_noise))
    return {**measured, **rounds, "error": error}, states[:N_PATHS]


SMALL = {"hidden_dim": 64}
PLAIN = Head("bc_convmlp", SMALL, 600)
GMM = Head("gmm", SMALL, 600)

# --------------------------------------------------------------------------------- compounding errors
ROAD = Recipe(Road(), PLAIN, n_demos=10, rollouts=100, test_len=400)
ROADS = {
    "bc": ROAD,
    "more demos": replace(ROAD, n_demos=40),
    "noisy demos": replace(ROAD, demo_noise=0.01),
    "dart": replace(ROAD, jitter=1.0),
    "dagger": replace(ROAD, n_demos=2, rounds=4, per_round=2),  # as many labels as bc
    "chunks": replace(ROAD, chunk_size=10),
    "expressive head": replace(ROAD, head=GMM),
    "history": replace(ROAD, history=5),
}

# --------------------------------------------------------------------------- multimodal demonstrations
DETOUR = Recipe(Detour(), PLAIN, n_demos=200, chunk_size=20)
_VAE = {**SMALL, "latent_dim": 2, "kl_weight": 0.1, "loss": "l2"}
_ACT = {"hidden_dim": 32, "dim_feedforward": 64, "n_heads": 4, "n_encoder_layers": 1, "n_cvae_layers": 1}
_ACT |= {"latent_dim": 2, "kl_weight": 0.02, "dropout": 0.0, "actions_per_query": 20}
_DENOISER = {"network": "transformer", "hidden_dim": 64, "n_layers": 2, "actions_per_token": 5}
HEADS = {
    "l2": PLAIN,
    "l1": Head("bc_convmlp", {**SMALL, "loss": "l1"}, 600),
    "categorical per number": Head("categorical", {**SMALL, "n_bins": 32}, 600),
    "categorical joint": Head("categorical", {**SMALL, "n_bins": 32, "joint": True}, 600),
    "gmm": GMM,
    "vae, z = 0": Head("vae", _VAE, 800),
    "vae, z ~ N": Head("vae", {**_VAE, "latent": "prior"}, 800),
    "act, z = 0": Head("act", _ACT, 700, 3e-3),
    "act, z ~ N": Head("act", {**_ACT, "latent": "prior"}, 700, 3e-3),
    "diffusion": Head("diffusion", {**_DENOISER, "predicts": "chunk"}, 1000, 1e-3, 0.99),
    "flow": Head("diffusion", {**_DENOISER, "objective": "flow"}, 1000, 1e-3, 0.99),
    "two-step regression": Head("diffusion", {**_DENOISER, "objective": "regression"}, 600, 1e-3),
}
DETOURS = {name: replace(DETOUR, head=head) for name, head in HEADS.items()} | {
    "more demos": replace(DETOUR, n_demos=800),
    "dart": replace(DETOUR, jitter=0.02),
    "dagger": replace(DETOUR, n_demos=100, rounds=2, per_round=50),
    "l2, asked every step": replace(DETOUR, n_action_steps=1),
    "gmm, asked every step": replace(DETOUR, head=GMM, n_action_steps=1),
    "chunks": replace(DETOUR, chunk_size=40),
    "sensor": replace(DETOUR, world=Detour(told=True)),
    "history": replace(DETOUR, history=5),
}

# ----------------------------------------------------------------------------- observability mismatch
CORRIDOR = Recipe(Corridor(), replace(PLAIN, steps=300), n_demos=20, demo_noise=0.005)
REVEALS = (0.1, 0.3, 0.5, 0.7, 0.9)  # shares of the corridor after which the goal shows


def _revealed(share: float) -> Recipe:
    return replace(CORRIDOR, world=Corridor(shown=(round(40 * share), 40)))


CUE = replace(CORRIDOR, world=Corridor(shown=(0, 4), wait=8))  # the goal flashes, then everybody waits
CORRIDORS: dict[str, Recipe] = {"sensor": CORRIDOR}
for _share in REVEALS:
    CORRIDORS[f"more demos, shown after {_share:.0%}"] = replace(_revealed(_share), n_demos=60)
    CORRIDORS[f"dart, shown after {_share:.0%}"] = replace(_revealed(_share), jitter=0.02)
    CORRIDORS[f"dagger, shown after {_share:.0%}"] = replace(_revealed(_share), rounds=4, per_round=10)
CORRIDORS |= {
    "cue, dart": replace(CUE, jitter=0.02),
    "cue, chunks": replace(CUE, chunk_size=10),
    "cue, expressive head": replace(CUE, head=replace(GMM, steps=300)),
    "cue, more demos": replace(CUE, n_demos=60),
    "cue, dagger": replace(CUE, rounds=4, per_round=10),
    "cue, history": replace(CUE, history=8),
    "cue, sensor": replace(CUE, world=Corridor(wait=8)),
}
EXPERIMENTS: dict[str, dict[str, Recipe]] = {"road": ROADS, "detour": DETOURS, "corridor": CORRIDORS}

# ------------------------------------------------------------------------------- what helps against what
Cell = tuple[str, str, str]  # experiment, condition, measure


def _cells(road: str | None, detour: str, corridor: str, measure: str = "success") -> tuple[Cell | None, Cell, Cell]:
    first: Cell | None = ("road", road, "alive at 200") if road else None
    return first, ("detour", detour, "success"), ("corridor", f"cue, {corridor}", measure)


REMEDIES = {
    "nothing: cloning, l2": _cells("bc", "l2", "dagger", "round 0"),
    "more demonstrations": _cells("more demos", "more demos", "more demos"),
    "DART": _cells("dart", "dart", "dart"),
    "DAgger": _cells("dagger", "dagger", "dagger"),
    "longer chunks": _cells("chunks", "chunks", "chunks"),
    "expressive head (gmm)": _cells("expressive head", "gmm", "expressive head"),
    "history": _cells("history", "history", "history"),
    "the missing sensor": _cells(None, "sensor", "sensor"),
}


@dataclass(frozen=True)
class Job:
    """One condition of one experiment under one seed."""

    experiment: str
    condition: str
    seed: int
    quick: bool

    def run(self) -> tuple["Job", dict[str, float], np.ndarray]:
        """What `attempt` gives."""
        recipe = EXPERIMENTS[self.experiment][self.condition]
        return self, *attempt(recipe.quick() if self.quick else recipe, self.seed)
