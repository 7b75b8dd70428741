"""The conditions of every experiment: a world, demonstrations, a learner, and how it is evaluated."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from act.runtime.agents import PolicyAgent
from benchmarks.failure_modes.learning import Head, drive, imitation_error
from benchmarks.failure_modes.worlds import Corridor, Detour, Road, World

Job = tuple[str, str, int, bool]  # experiment, condition, seed, quick


@dataclass(frozen=True)
class Recipe:
    """One condition."""

    world: World
    head: Head
    n_demos: int
    demo_noise: float = 0.0  # disturbs the demonstrations
    jitter: float = 0.0  # what DART adds to the demonstrator's executed actions
    rounds: int = 0  # of DAgger: the learner drives, the expert labels the states
    per_round: int = 0  # episodes in each round
    history: int = 1  # observations that the learner sees
    chunk_size: int = 1
    n_action_steps: int | None = None  # executed actions of each chunk; None: all
    rollouts: int = 200
    test_len: int | None = None  # control steps of a test episode; None: as the demonstrations

    def quick(self) -> "Recipe":
        """Returns the same with a third of the training, fewer rollouts, and half of the road."""
        head = replace(self.head, steps=self.head.steps // 3)
        return replace(self, head=head, rollouts=60, test_len=self.test_len and self.test_len // 2)


def run(job: Job) -> dict[str, float]:
    experiment, condition, seed, quick = job
    recipe = EXPERIMENTS[experiment][condition]
    return evaluate(recipe.quick() if quick else recipe, seed)


def evaluate(recipe: Recipe, seed: int) -> dict[str, float]:
    """Demonstrates, trains, and returns the world's measures, "round r" (success after r rounds of DAgger), and
    "error" (RMS of the first action on new demonstrations)."""
    rng, test_rng = np.random.default_rng((seed, 0)), np.random.default_rng((seed, 1))
    go = partial(drive, recipe.world, history=recipe.history)
    episodes = go(None, recipe.n_demos, rng, recipe.demo_noise, recipe.jitter).episodes()
    rounds: dict[str, float] = {}
    while True:
        agent = PolicyAgent(recipe.head.train(episodes, recipe.chunk_size, seed), recipe.n_action_steps)
        measured = recipe.world.measure(go(agent, recipe.rollouts, test_rng, episode_len=recipe.test_len).states)
        rounds[f"round {len(rounds)}"] = measured["success"]
        if len(rounds) > recipe.rounds:
            break
        episodes += go(agent, recipe.per_round, rng).labelled(recipe.world, recipe.chunk_size)
    error = imitation_error(agent.policy, go(None, 20, test_rng, recipe.demo_noise))
    return {**measured, **rounds, "error": error}


SMALL = {"hidden_dim": 64}
PLAIN = Head("bc_convmlp", SMALL, 600)
GMM = Head("gmm", SMALL, 600)

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
    "sensor": replace(DETOUR, world=Detour(side_visible=True)),
    "history": replace(DETOUR, history=5),
}

CORRIDOR = Recipe(Corridor(), replace(PLAIN, steps=300), n_demos=20, demo_noise=0.005)
CUE = replace(CORRIDOR, world=Corridor(shown=(0, 4), wait=8))  # the goal is visible briefly, then all wait
CORRIDORS: dict[str, Recipe] = {
    "sensor": CORRIDOR,
    "cue, dart": replace(CUE, jitter=0.02),
    "cue, chunks": replace(CUE, chunk_size=10),
    "cue, expressive head": replace(CUE, head=replace(GMM, steps=300)),
    "cue, more demos": replace(CUE, n_demos=60),
    "cue, dagger": replace(CUE, rounds=4, per_round=10),
    "cue, history": replace(CUE, history=8),
    "cue, sensor": replace(CUE, world=Corridor(wait=8)),
}
REVEALS = (0.1, 0.3, 0.5, 0.7, 0.9)  # shares of the corridor after which the goal is visible
for _share in REVEALS:
    _late = replace(CORRIDOR, world=Corridor(shown=(round(40 * _share), 40)))
    CORRIDORS[f"more demos, shown after {_share:.0%}"] = replace(_late, n_demos=60)
    CORRIDORS[f"dart, shown after {_share:.0%}"] = replace(_late, jitter=0.02)
    CORRIDORS[f"dagger, shown after {_share:.0%}"] = replace(_late, rounds=4, per_round=10)
EXPERIMENTS: dict[str, dict[str, Recipe]] = {"road": ROADS, "detour": DETOURS, "corridor": CORRIDORS}
