"""Evaluates a trained policy: checkpoint -> agent -> seeded rollouts -> results.json, videos, report.html.

    python eval.py runs/demo                                 50 test rollouts, chunk by chunk and as an ensemble
    python eval.py runs/demo --modes chunk --num_rollouts 200
    python eval.py --ckpt_dir runs/demo --task_name sim_transfer_cube_scripted --temporal_agg
    python eval.py runs/demo --env my_robot:make             somebody else's environment: docs/your_own_environment.md

After an interruption, the same command continues.
"""

import sys
from collections.abc import Sequence
from functools import partial

import sim_envs
from act import command_line
from act.cluster import PolicyFiles, Waves, connected
from act.evaluation import run as evaluation
from act.evaluation.card import write_model_card
from act.evaluation.evaluate import Summary
from act.evaluation.execution import Execution
from act.evaluation.options import Options
from act.evaluation.report import write_report
from act.files import lock_folder
from act.interop.environments.opening import env_name, open_env
from act.run_folder import RunFolder
from act.runtime.envs import ParallelEnvs
from act.serving.loading import engine_name, open_run
from act.types import task_of


def main(arguments: Sequence[str] | None = None) -> int:
    return command_line.run("eval", lambda: evaluate(parse(arguments)), stopped="the same command continues")


def parse(arguments: Sequence[str] | None = None) -> Options:
    """The checked options of a command line; ValueError for flags that do not go together."""
    options = command_line.parse(
        Options,
        arguments,
        program="eval.py",
        description="Evaluates a trained policy in seeded rollouts; writes results, videos and a report.",
        example="python eval.py runs/demo --num_rollouts 200",
        page="docs/evaluation.md",
    )
    options.check()
    return options


def evaluate(options: Options) -> None:
    """Loads the policy once, evaluates every execution of it, and writes the report about all results in the folder."""
    run, plan, machine = options.folder, options.rollouts, options.machine
    trained_task = task_of(RunFolder(run).task_name())
    task = env_name(options.env) if options.env else task_of(options.task_name) if options.task_name else trained_task
    policy, about, weights = open_run(run, machine.engine, machine.device)
    engine, out = engine_name(machine.engine), RunFolder(options.out or run)
    cameras, image_size = evaluation.cameras_for(policy, 0 if options.env else plan.videos)
    make = partial(open_env, options.env) if options.env else partial(sim_envs.make, task)
    make_env = partial(make, cameras=cameras, image_size=image_size)
    num_envs = machine.num_envs or evaluation.default_num_envs(plan.num_rollouts, machine.num_workers, bool(cameras))
    summaries: dict[Execution, Summary] = {}
    with connected(machine.ray), ParallelEnvs(make_env, num_envs, machine.num_workers) as envs:
        evaluation.check_objects(policy, envs.env_spec, trained_task)
        fill_log = None
        if machine.ray:
            files = PolicyFiles.read(run, weights, evaluation.device_of(policy), engine)
            fill_log = Waves(files, make_env, num_envs, machine.num_workers).fill
        for execution in options.execution.executions():
            settings = evaluation.policy_settings(run, about, weights)
            settings |= evaluation.rollout_settings(task, execution, policy, plan.seed_set, engine)
            settings |= {"env": options.env} if options.env else {}
            folder = out.evaluation(execution.folder(plan.seed_set, engine, "" if task == trained_task else task))
            with lock_folder(folder, "evaluated into", "--out"):
                rollouts = evaluation.EvaluationRun(envs, policy, execution, plan, folder)
                summaries[execution] = rollouts.run(settings, machine.num_workers, fill_log)
            evaluation.print_stages(summaries[execution], execution)
    evaluation.print_table(summaries)
    write_report([out.path], out.report)
    print(f"wrote {out.report}")
    if options.out is None and (card := write_model_card(out)):
        print(f"wrote {card}")


if __name__ == "__main__":
    sys.exit(main())
