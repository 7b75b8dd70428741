# make demo    from nothing to runs/demo/report.html: record, pretrain, train, evaluate (resumes if interrupted);
#              make demo TASK=slide_ziploc does another task (docs/tasks.md), in runs/demo_slide_ziploc;
#              make demo PRESET=aloha trains the published network (docs/pixels.md), in runs/demo_aloha: about an hour
# make quick   the tests that take less than a minute together
# make test    style, types, all tests but those of `make realtime`, which need a quiet machine (emulated motors)
# make setup   only .venv, for development; every target creates what it needs
# PYTHON=python3.12 picks another interpreter (3.11 or newer).

PYTHON ?= python3
PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
TASK := transfer_cube
# A task alone means its scripted style; sim_TASK_human is the varied one. Every task but the first has folders of its own.
TASK_NAME := $(if $(filter sim_%,$(TASK)),$(TASK),sim_$(TASK)_scripted)
ENDING := $(if $(filter sim_transfer_cube_scripted,$(TASK_NAME)),,_$(TASK_NAME:sim_%=%))
ENDING := $(ENDING:%_scripted=%)
# Preset fast sees through a keypoint detector, preset aloha through the ResNet-18 of the paper.
PRESET := fast
ENDING := $(ENDING)$(if $(filter fast,$(PRESET)),,_$(PRESET))
DEMOS := data/demo$(ENDING)
RUN := runs/demo$(ENDING)
# For a smaller or larger demo (after one: make clean-demo): make demo EPISODES=10 SCENES=500 TRAIN="--steps 500" ROLLOUTS=10
EPISODES := 50
RECORD := $(if $(filter aloha,$(PRESET)),--spread 500)
SCENES := $(if $(filter aloha,$(PRESET)),6000,3000)
PRETRAIN := $(if $(filter aloha,$(PRESET)),--backbone resnet18 --steps 1300,--steps 500)
TRAIN :=
ROLLOUTS := 50

.PHONY: demo quick test realtime setup lock clean-demo
.DELETE_ON_ERROR:

demo: $(RUN)/report.html
	@echo "open $(RUN)/report.html"

quick: setup
	$(PY) -m pytest -n 2 -m "not slow"

test: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright
	$(PY) -m pytest -n 2

realtime: setup
	$(PY) -m pytest --realtime -m realtime

setup: .venv/.installed

# Installs this repository into .venv with the versions of constraints.txt, the set that was tested. Where a registry
# lacks one of them, the ranges of requirements.txt and pyproject.toml decide.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=python3.12")'
	@echo 'setting up .venv: a few minutes, once'
	@test -x $(PY) || $(PYTHON) -m venv .venv || { rm -rf .venv; echo "cannot create .venv: apt-get install python3-venv"; exit 1; }
	@$(PIP) install -c constraints.txt -e '$(1)' || { \
		echo 'the tested versions cannot be installed here; trying the ranges of requirements.txt'; $(PIP) install -e '$(1)'; }
endef

.venv/.demo: requirements.txt pyproject.toml constraints.txt
	$(call install,.)
	@touch $@

.venv/.installed: requirements.txt pyproject.toml constraints.txt
	$(call install,.[dev])
	@touch .venv/.demo $@

# Writes down the versions in .venv; run it after the tests have passed with them.
lock: setup
	{ echo '# The versions that were tested together, written by `make lock`; `make setup` installs them.'; \
		$(PIP) list --format=freeze --exclude-editable --exclude pip --exclude wheel; } > constraints.tmp
	mv constraints.tmp constraints.txt
	@touch .venv/.demo .venv/.installed

# The stages of the demo; a finished one is a file here. Recording, training and evaluation continue where they were
# interrupted; rendering the random scenes, a minute or two, begins again.
# The set-up is an order-only prerequisite (after the bar): a new library version does not throw demonstrations away.
$(DEMOS)/.recorded: | .venv/.demo
	$(PY) record_sim_episodes.py --task_name $(TASK_NAME) --dataset_dir $(DEMOS) --image_size 240 320 --num_episodes $(EPISODES) $(RECORD)
	@touch $@

$(DEMOS)/scenes.hdf5: | .venv/.demo
	$(PY) record_sim_episodes.py --task_name $(TASK_NAME) --dataset_dir $(DEMOS) --image_size 240 320 --random_scenes $(SCENES)

$(RUN)/backbone/trunk.json: $(DEMOS)/scenes.hdf5
	$(PY) -m act pretrain $< --out $(@D) $(PRETRAIN)
	@touch $@

$(RUN)/.trained: $(DEMOS)/.recorded $(RUN)/backbone/trunk.json
	$(PY) train.py --preset $(PRESET) --task_name $(TASK_NAME) --dataset_dir $(DEMOS) --trunk $(RUN)/backbone --ckpt_dir $(RUN) $(TRAIN)
	@touch $@

$(RUN)/report.html: $(RUN)/.trained
	$(PY) eval.py $(RUN) --num_rollouts $(ROLLOUTS) --modes chunk
	$(PY) eval.py $(RUN) --num_rollouts $(ROLLOUTS) --modes ensemble --n_action_steps 4

clean-demo:
	rm -rf $(DEMOS) $(RUN)
