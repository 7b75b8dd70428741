"""What goes wrong in imitation learning, and what helps, in worlds small enough to understand completely.

exact.py      three effects in closed form, without learning
worlds.py     a road, a detour, a corridor: each shows one failure
learning.py   demonstrations, DART, DAgger and the policies of act/policies in those worlds
recipes.py    the conditions of the experiments
claims.py     what must come out, as inequalities
figures.py    the figures of docs/failure_modes.md
"""
