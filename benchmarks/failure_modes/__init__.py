"""What goes wrong in imitation learning, and what helps, in worlds of a few numbers: docs/failure_modes.md."""
