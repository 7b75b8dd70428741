"""MuJoCo picks its OpenGL when it is first imported; sim_envs sets that up, so it must come first."""

import sim_envs  # noqa: F401
