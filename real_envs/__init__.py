"""Real arms: leader and follower arms on Dynamixel buses, and cameras. The package knows nothing about learning.

It has the observations and actions of `sim_envs`: 14 numbers, left 6 joints [rad], left gripper [0 closed, 1 open],
then the right arm. `pip install -e '.[hardware]'` brings what it needs. No real arm was driven: docs/real_robot.md.
"""
