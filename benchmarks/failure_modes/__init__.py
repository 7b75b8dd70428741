"""What can go wrong when one imitates, and what helps, in worlds small enough to see through.

exact.py      the three effects in closed form, no learning
worlds.py     a road, a detour, a corridor: each shows one failure, and an expert drives in it
learning.py   demonstrations, DART, DAgger and the policies of act/policies in those worlds
recipes.py    who learns what from whom: the tables of conditions
claims.py     what the lecture says must come out, as inequalities
figures.py    the drawings of docs/failure_modes.md
"""
