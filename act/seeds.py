"""Defines disjoint ranges of seeds for demonstrations, validation and test, and the seeds of every DAgger round.

A seed decides where the objects of an episode start. Demonstrations use seeds from 0 upward, validation seeds select
checkpoints and settings, and test seeds are used only for reported results.
"""

DEMONSTRATION_SEEDS = range(1_000_000)
VALIDATION_SEEDS = range(1_000_000, 2_000_000)
TEST_SEEDS = range(2_000_000, 3_000_000)
SEED_SETS = {"test": TEST_SEEDS, "validation": VALIDATION_SEEDS}
SEEDS_PER_ROUND = 10_000  # DAgger round r records with seeds from r * 10,000; round 0 is the demonstrations
