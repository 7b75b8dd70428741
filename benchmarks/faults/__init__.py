"""Programmes of faults: what is damaged, killed or forged on purpose, and what the project makes of it."""
