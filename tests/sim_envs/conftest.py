"""Imports sim_envs before MuJoCo, because MuJoCo chooses its OpenGL backend when it is first imported."""

import sim_envs  # noqa: F401
