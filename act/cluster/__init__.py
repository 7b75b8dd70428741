"""Runs recording, rollouts and whole programs on several machines through Ray, and survives the loss of a machine.

    with connected("auto"):
        record(recording, make_env, make_expert, DIR, 50, RayWorkers)

A call goes to any process of the cluster that has enough free cores. Objects that are expensive to make (an
environment, a policy) are made once per process and kept. A call whose process or machine dies is repeated on another
machine, and its answer counts once. Answers are bytes and numbers, so the machines share no files; only whole programs
(`run_program_remotely`) need a shared folder.
"""

from act.cluster.calls import connected, gpu_share, share
from act.cluster.programs import run_program_remotely
from act.cluster.recording import RayWorkers
from act.cluster.rollouts import PolicyFiles, Waves

__all__ = ["PolicyFiles", "RayWorkers", "Waves", "connected", "gpu_share", "run_program_remotely", "share"]
