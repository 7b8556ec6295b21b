"""The training of one wave in a process of its own, from the ablation's directory alone."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
from typing import Any

from research.ablation.ablation import Member
from research.ablation.cluster.wave_job import WaveJob
from research.ablation.directory import AblationDirectory, Wave, read
from research.ablation.groups import Group, Stock, devices_of, group
from research.ablation.waves import run_wave
from research.errors import UserError
from research.experiment import Execution, Experiment
from research.spec import from_json
from research.training.code import code_hash
from research.training.compilation_cache import use_compilation_cache
from research.training.lowerings import check_lowerings, offered
from research.training.provenance import environment

PATIENCE = 120.0
"""Seconds to wait for a process that still works in the wave, such as one that its machine has lost touch with."""


def train(job: WaveJob) -> None:
    """Train and evaluate the members of a wave, or finish what was begun.

    Raises:
        UserError: for a directory, data or code that this machine does not have as the one that sent the job, or
            another process that works in the wave.
        RunError: for a failure while training.
        Interrupted: after SIGTERM or SIGINT, once the state is saved.
    """
    description = job.path / "wave.json"
    if not description.exists():
        raise UserError(
            f"{job.path}: this machine does not see the ablation's directory. It must lie in a folder that all "
            f"machines share; choose one with --ablations DIR."
        )
    wave = Wave(job.path, read(description))
    with wave.claimed(PATIENCE):
        if wave.finished:
            return
        execution = from_json(job.execution)
        assert isinstance(execution, Execution)
        directory = AblationDirectory(wave.path.parent.parent)
        directory.load_classes()
        use_compilation_cache()
        devices = devices_of(execution)
        check_lowerings(execution, devices[0])
        if not job.accept_changes:
            _check_code(wave, job)
        _note_attempt(wave, environment(devices[0], from_json(directory.read_plan()["baseline"])))
        its = _group_of(wave, execution)
        outline = dataclasses.replace(its.outline, lowerings=offered(wave.lowerings, devices[0]))
        run_wave(wave, its.members, outline, execution, devices, lambda step, record: None)


def _check_code(wave: Wave, job: WaveJob) -> None:
    for member in wave.about["members"]:
        code, there = code_hash(from_json(member["experiment"]))[0], job.codes[member["identity"]]
        if code != there:
            raise UserError(
                f"this machine has other code than the one that sent the wave (for {member['name']}: code {code}, "
                f"there {there}). Let both have the same, or go on all the same with --accept-changes."
            )


def _group_of(wave: Wave, execution: Execution) -> Group:
    """The members of a wave with their data, as they were when it was begun."""
    members = [_member(about) for about in wave.about["members"]]
    groups = group(members, Stock(), execution)
    if len(groups) != 1:
        raise UserError(f"{wave.path}: its members share no program on this machine. Train all anew with --fresh.")
    (its,) = groups
    for ready, about in zip(its.members, wave.about["members"], strict=True):
        if ready.data != about["data"]:
            raise UserError(
                f"{about['name']}: this machine has other data than the one that planned the ablation (fingerprint "
                f"{ready.data}, there {about['data']}). Let both read the same files."
            )
    return its


def _member(about: dict[str, Any]) -> Member:
    experiment = from_json(about["experiment"])
    assert isinstance(experiment, Experiment)
    member = Member(about["arm"], about["seed"], about["fold"], experiment, about["inner"])
    if member.identity != about["identity"]:
        raise UserError(
            f"{about['name']}: its experiment is another one on this machine. Let all machines have the same code."
        )
    return member


def _note_attempt(wave: Wave, now: dict[str, Any]) -> None:
    """A line on who trains the wave; a retry adds another."""
    about = {"host": socket.gethostname(), "process": os.getpid(), "environment": now}
    with wave.attempts.open("a", encoding="utf-8") as file:
        file.write(json.dumps(about) + "\n")
