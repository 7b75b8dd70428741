#!/bin/sh
# Reproduces the results of preset `fast` with 50 scripted demonstrations per task: sh benchmarks/fast.sh
# The transfer is what `make demo` trains, evaluated on 200 test rollouts; the insertion takes more scenes and more steps.
set -e
cd "$(dirname "$0")/.."
PY=.venv/bin/python

make demo
$PY eval.py runs/demo --num_rollouts 200 --modes chunk
$PY eval.py runs/demo --num_rollouts 200 --modes ensemble --n_action_steps 4 --videos 0

TASK=sim_insertion_scripted
$PY record_sim_episodes.py --task_name $TASK --image_size 240 320 --dataset_dir data/insertion
$PY record_sim_episodes.py --task_name $TASK --image_size 240 320 --dataset_dir data/insertion --random_scenes 4000
$PY -m act pretrain data/insertion/scenes.hdf5 --out runs/insertion_trunk --steps 1000
$PY train.py --preset fast --task_name $TASK --dataset_dir data/insertion --steps 6000 --ckpt_dir runs/insertion
$PY eval.py runs/insertion --num_rollouts 200 --modes chunk
$PY eval.py runs/insertion --num_rollouts 200 --modes ensemble --n_action_steps 4 --videos 0
