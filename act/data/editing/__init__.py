"""Edits data sets without loss: `python -m act episodes delete|merge|split|trim|renumber`. See docs/episodes.md."""
