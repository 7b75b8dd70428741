"""For all tests: libraries are loaded in an order that works, Ctrl-C reaches programs, and slow tests carry a mark."""

import signal

import pytest
import torch._dynamo  # noqa: F401  (loads Triton where there is one; Mesa's LLVM must not be loaded before Triton's)

# A shell's background jobs ignore Ctrl-C, and so would the programs that tests start and stop.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Where most of the time goes: trainings, processes that simulate, whole programs, Ray, a browser. These tests get the
# mark `slow`, which `make quick` leaves out, by the beginning of their names; others have it in their own file.
SLOW = (
    "act/cluster/",
    "act/data/test_repair.py::test_seal_adds_checksums_to_files_that_have_none",
    "act/data/test_repair.py::test_the_command_runs_from_the_shell",
    "act/data/test_repair.py::test_validate_repair_and_info_find_what_is_broken",
    "act/interop/test_checkpoints.py",
    "act/interop/test_convert.py",
    "act/interop/test_imported_run.py",
    "act/policies/test_adding_a_policy.py",
    "act/policies/test_diffusion.py::test_ddpm_and_flow_hold_both_ways",
    "act/policies/test_diffusion.py::test_regression_gives_one_answer_whose_first_step_is_the_mean",
    "act/policies/test_policies.py::test_the_loss_falls_on_one_batch_and_every_parameter_gets_a_gradient",
    "act/recording/test_options.py::test_flags_with_an_effect_are_taken_and_all_others_refused",
    "act/recording/test_rounds.py",
    "act/recording/test_scenes.py",
    "act/recording/test_teleoperated.py",
    "act/serving/test_export.py",
    "act/serving/test_server.py::test_a_served_policy_gives_the_same_answers",
    "act/serving/test_server.py::test_an_evaluation_asks_a_server",
    "act/serving/test_server.py::test_an_evaluation_of_a_policy_that_answers_nonsense_ends_in_one_sentence",
    "act/test_distributed.py",
    "act/training/test_cotraining.py",
    "act/training/test_fit.py",
    "act/training/test_preparation.py",
    "act/training/test_pretrain.py",
    "act/training/test_unfreezing.py",
    "benchmarks/grid/test_cells.py",
    "benchmarks/grid/test_tables.py",
    "benchmarks/speed/",
    "benchmarks/test_dagger.py",
    "benchmarks/test_experts.py",
    "benchmarks/test_failure_modes.py",
    "benchmarks/test_faults.py",
    "sim_envs/experts/",
    "sim_envs/teleop/test_page.py",
    "sim_envs/test_expert_labels.py",
    "sim_envs/test_fidelity.py",
    "sim_envs/test_random_scenes.py",
    "test_eval.py",
    "test_record.py",
    "test_train.py",
)


# Emulated motors must answer within milliseconds, from processes and threads of their own. Beside other tests on two
# cores they sometimes do not, so these tests run by themselves: `make realtime`.
REALTIME = (
    "real_envs/test_calibrate.py::test_a_joint_that_was_not_moved",
    "real_envs/test_calibrate.py::test_an_arm_is_read_right",
    "real_envs/test_calibrate.py::test_the_signs_of_an_unknown_arm",
    "real_envs/test_page.py::test_the_program_of_the_page",
    "real_envs/test_puppeteering.py",
    "real_envs/test_record.py",
    "real_envs/test_robot.py",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--realtime", action="store_true", help="run the tests that need cores of their own")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        name = item.nodeid.removeprefix("tests/")
        if name.startswith(SLOW):
            item.add_marker(pytest.mark.slow)
        if name.startswith(REALTIME):
            item.add_marker(pytest.mark.realtime)
            if not config.getoption("--realtime"):
                item.add_marker(pytest.mark.skip(reason="needs cores of its own: make realtime"))
