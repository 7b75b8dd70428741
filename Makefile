# make demo   from nothing to runs/demo/report.html: record, pretrain, train, evaluate (resumes if interrupted)
# make test   style, types, tests
# Both create .venv on the first call. PYTHON=python3.12 picks another interpreter (3.11 or newer).

PYTHON ?= python3
PY := .venv/bin/python
TASK := sim_transfer_cube_scripted
DEMOS := data/demo
RUN := runs/demo
# For a smaller or larger demo (after one: make clean-demo): make demo EPISODES=10 SCENES=500 TRAIN="--steps 500" ROLLOUTS=10
EPISODES := 50
SCENES := 3000
PRETRAIN := --steps 500
TRAIN :=
ROLLOUTS := 50

.PHONY: demo test setup clean-demo
.DELETE_ON_ERROR:

demo: $(RUN)/report.html
	@echo "open $(RUN)/report.html"

test: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright
	$(PY) -m pytest -n 2

setup: .venv/.installed

.venv/.installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.12")'
	@echo 'setting up .venv: a few minutes, once'
	@test -x $(PY) || $(PYTHON) -m venv .venv || { rm -rf .venv; echo "cannot create .venv: apt-get install python3-venv"; exit 1; }
	$(PY) -m pip install --disable-pip-version-check -e '.[dev]'
	@touch $@

# The stages of the demo; a finished one is a file here. Recording, training and evaluation continue where they were
# interrupted; drawing scenes and learning to see, a minute or two each, begin anew.
# Set-up is an order-only prerequisite (after the bar): a new library version does not throw demonstrations away.
$(DEMOS)/.recorded: | setup
	$(PY) record_sim_episodes.py --task_name $(TASK) --dataset_dir $(DEMOS) --image_size 240 320 --num_episodes $(EPISODES)
	@touch $@

$(DEMOS)/scenes.hdf5: | setup
	$(PY) record_sim_episodes.py --task_name $(TASK) --dataset_dir $(DEMOS) --image_size 240 320 --random_scenes $(SCENES)

$(RUN)/eyes/trunk.json: $(DEMOS)/scenes.hdf5
	$(PY) -m act pretrain $< --out $(@D) $(PRETRAIN)

$(RUN)/.trained: $(DEMOS)/.recorded $(RUN)/eyes/trunk.json
	$(PY) train.py --preset fast --task_name $(TASK) --dataset_dir $(DEMOS) --trunk $(RUN)/eyes --ckpt_dir $(RUN) $(TRAIN)
	@touch $@

$(RUN)/report.html: $(RUN)/.trained
	$(PY) eval.py $(RUN) --num_rollouts $(ROLLOUTS)

clean-demo:
	rm -rf $(DEMOS) $(RUN)
