"""Several machines through Ray: recording, rollouts and whole programs as calls that survive the loss of a machine.

    with connected("auto"):
        record(recording, DIR, 50, workers, RayWorkers)

A call goes to any process of the cluster that has the cores for it. What is dear to make (an environment, a policy) is
made once per process and kept. A call whose process or machine dies is made again elsewhere; its answer counts once.
Answers are bytes and numbers, so machines share no files: only those that run whole programs (`RemoteProgram`) do.
"""

from act.cluster.calls import connected, gpu_share, share
from act.cluster.programs import RemoteProgram
from act.cluster.recording import RayWorkers
from act.cluster.rollouts import Waves

__all__ = ["RayWorkers", "RemoteProgram", "Waves", "connected", "gpu_share", "share"]
