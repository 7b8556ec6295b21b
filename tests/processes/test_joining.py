"""Which process this is: by options, by variables, by what started it; and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from research.cli import main
from research.errors import UserError
from research.processes import Place, find_place
from research.processes.joining import OPTIONS, SILENT, STUCK, VARIABLES, seconds_of


def told(*values: str) -> dict[str, str]:
    """The variables of launch_local."""
    return dict(zip(VARIABLES, values, strict=True))


SLURM = {
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
    "SLURM_JOB_ID": "4100",
    "SLURM_STEP_NODELIST": "gpu[07-09,12]",
    "SLURM_STEP_TASKS_PER_NODE": "1(x4)",
}


def test_a_process_by_itself_has_no_place() -> None:
    assert find_place(environment={}) is None
    assert find_place(environment=told("10.0.0.1:7788", "1", "0")) is None
    assert find_place(environment=SLURM | {"SLURM_STEP_NUM_TASKS": "1"}) is None
    assert find_place(environment={"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}) is None  # the batch script, no step
    assert find_place(environment={"OMPI_COMM_WORLD_SIZE": "1", "TPU_WORKER_HOSTNAMES": "localhost"}) is None


def test_options_come_before_variables_and_these_before_slurm() -> None:
    variables = told("[fd00::1]:7788", "4", "3") | SLURM
    assert find_place("10.0.0.1:1", 2, 1, variables) == Place("--coordinator", "10.0.0.1:1", 2, 1)
    assert find_place(environment=variables) == Place("RESEARCH_COORDINATOR", "[fd00::1]:7788", 4, 3)
    assert find_place(environment=SLURM | {"OMPI_COMM_WORLD_SIZE": "2"}).told == "Slurm"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("gpu[07-09,12]", "gpu07"),
        ("a1,b2", "a1"),
        ("node-3", "node-3"),
        ("n[1,3]-ib", "n1-ib"),
        ("r[1-2]n[01-4],a", "r1n01"),
    ],
)
def test_slurm_names_its_first_machine_and_a_port_by_the_job(nodes: str, host: str) -> None:
    place = find_place(environment=SLURM | {"SLURM_STEP_NODELIST": nodes})
    assert place == Place("Slurm", f"{host}:{65535 - 4}", 4, 2, None)


def devices(**variables: str) -> tuple[int, ...] | None:
    """Those of task 1 on the second machine, where two tasks run, and one on the first."""
    shared = {"SLURM_STEP_TASKS_PER_NODE": "1,2(x2)", "SLURM_NODEID": "1", "SLURM_LOCALID": "1"}
    place = find_place(environment=SLURM | shared | variables)
    assert place is not None
    return place.devices


def test_tasks_of_one_machine_that_all_see_its_gpus_share_them() -> None:
    assert devices(CUDA_VISIBLE_DEVICES="0,1,2,3") == (2, 3)
    assert devices(CUDA_VISIBLE_DEVICES="0,1", SLURM_GPU_BIND="none") == (1,)
    assert devices(CUDA_VISIBLE_DEVICES="0,1,2,3", SLURM_NODEID="0", SLURM_LOCALID="0") is None  # one task
    assert devices(CUDA_VISIBLE_DEVICES="2") is devices() is None
    with pytest.raises(UserError, match=r"3 tasks of this machine would share 2 GPUs .*--ntasks-per-node=2\)"):
        devices(CUDA_VISIBLE_DEVICES="0,1", SLURM_STEP_TASKS_PER_NODE="3(x2)")


@pytest.mark.parametrize(
    "variable", [{"SLURM_GPUS_PER_TASK": "4"}, {"SLURM_TRES_PER_TASK": "gres/gpu:4"}, {"SLURM_GPU_BIND": "single:1"}]
)
def test_tasks_that_see_their_own_gpus_alone_take_all_of_them(variable: dict[str, str]) -> None:
    assert devices(CUDA_VISIBLE_DEVICES="0,1,2,3", **variable) is None


def test_slurm_without_a_list_of_machines_is_refused() -> None:
    with pytest.raises(UserError, match=r"SLURM_STEP_NODELIST: names no machine\. Start the processes with srun"):
        find_place(environment=SLURM | {"SLURM_STEP_NODELIST": ""})


MPI = {
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}


def test_open_mpi_4_and_tpu_pods_are_left_to_jax() -> None:
    four = MPI | {"OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1:34911"}
    assert find_place(environment=four) == Place("Open MPI", devices=(1,))
    assert find_place(environment=four | {"OMPI_COMM_WORLD_LOCAL_SIZE": "1"}) == Place("Open MPI")
    assert find_place(environment={"TPU_WORKER_HOSTNAMES": "t0,t1"}) == Place("the TPU pod")


def test_open_mpi_5_needs_to_be_told_the_address_alone() -> None:
    with pytest.raises(UserError, match=r"from version 5 on does not say .*Give --coordinator HOST:PORT"):
        find_place(environment=MPI)
    assert find_place("10.0.0.1:1", environment=MPI) == Place("--coordinator", "10.0.0.1:1", 4, 3, (1,))
    told = find_place(environment=MPI | {"RESEARCH_COORDINATOR": "h:1", "OMPI_COMM_WORLD_LOCAL_SIZE": "1"})
    assert told == Place("RESEARCH_COORDINATOR", "h:1", 4, 3)


def test_one_process_is_by_itself_whatever_started_it() -> None:
    assert find_place(processes=1, environment=SLURM) is None
    assert find_place(environment=MPI | {"RESEARCH_PROCESSES": "1"}) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("10.0.0.1:1", None, None), r"go together, and --processes, --process is missing"),
        ((None, 2, 0), r"--coordinator is missing\. Give all three"),
        (("10.0.0.1", 2, 0), r"--coordinator: HOST:PORT is needed.*'10\.0\.0\.1' was given"),
        ((":7788", 2, 0), "HOST:PORT is needed"),
        (("h:70000", 2, 0), "with a port up to 65535"),
        (("h:1", 2, 2), r"numbered from 0 to one less than their number; 2 of 2 was given"),
        (("h:1", 2, -1), "-1 of 2 was given"),
        (("h:1", 0, 0), "0 of 0 was given"),
    ],
)
def test_options_that_mean_nothing_are_refused(given: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_place(*given, environment={})
    assert OPTIONS == ("--coordinator", "--processes", "--process")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RESEARCH_PROCESS": "0"}, "RESEARCH_COORDINATOR, RESEARCH_PROCESSES is missing"),
        (told("h:1", "2", ""), "RESEARCH_PROCESS is missing"),
        (told("h:1", "two", "0"), "RESEARCH_PROCESSES: a whole number is needed, 'two' was given"),
        (told("h:1", "2", "0.5"), "RESEARCH_PROCESS: a whole number is needed"),
    ],
)
def test_variables_that_mean_nothing_are_refused(variables: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_place(environment=variables)


@pytest.mark.parametrize("name", [SILENT, STUCK])
def test_how_long_a_process_may_be_silent_or_waited_for_is_a_number_of_seconds(name: str) -> None:
    assert seconds_of(name, 30, {}) == 30 and seconds_of(name, 30, {name: "4.5"}) == 4.5
    for text in ("soon", "1", "nan", "inf", "-5"):
        with pytest.raises(UserError, match=rf"{name}: a number of seconds from 3 on is needed, '{text}' was given"):
            seconds_of(name, 30, {name: text})


@pytest.mark.parametrize(
    "command",
    [
        ["ablate", "a.py"],
        ["evaluate", "runs/a"],
        ["extract", "a", "--member", "b", "--to", "c"],
        ["predict", "runs/a", "--data", "csv:a"],
        ["table", "a"],
        ["verify-resume", "a.py"],
    ],
    ids=lambda command: command[0],
)
def test_commands_for_one_process_are_refused_in_several(command: list[str], monkeypatch: Any, capsys: Any) -> None:
    for name, value in told("10.0.0.1:1", "2", "1").items():
        monkeypatch.setenv(name, value)
    assert main(command) == 2
    said = capsys.readouterr().err
    assert f"{command[0]}: this is one of several processes (RESEARCH_COORDINATOR)" in said and "Start it once" in said
    assert main(["data", "list"]) == 0
