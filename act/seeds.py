"""The families of seeds, which never mix: demonstrations, validation, test; and those of the rounds of DAgger.

A seed decides where the objects of an episode lie. Demonstrations are recorded with seeds from 0 upward, validation
seeds choose checkpoints and settings, test seeds are for the number that is reported.
"""

DEMONSTRATION_SEEDS = range(1_000_000)
VALIDATION_SEEDS = range(1_000_000, 2_000_000)
TEST_SEEDS = range(2_000_000, 3_000_000)
SEED_SETS = {"test": TEST_SEEDS, "validation": VALIDATION_SEEDS}
SEEDS_PER_ROUND = 10_000  # of DAgger: round r records with seeds r * 10,000 ...; round 0 are the demonstrations
