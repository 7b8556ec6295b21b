"""Weights of another run as the starting point of this one."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from research.algorithms.algorithm import State
from research.errors import UserError, did_you_mean
from research.experiment import Experiment, StartFrom
from research.models.functional import lies_below, paths, wide
from research.training.carry import Carry
from research.training.checkpoint import Checkpoints

Sources = dict[StartFrom, dict[str, Any]]
"""What has been read already, by where it was read from."""


def begin(experiment: Experiment, carry: Carry, device: Any, sources: Sources | None = None) -> Carry:
    """The carry of a run that has not started: fresh weights, or those it starts from.

    Args:
        experiment: what is trained.
        carry: as `research.training.program.Program.initialise` gives it.
        device: where it is to be; or a sharding for each array.
        sources: kept between calls, where many runs start from the same: each is read once.

    Raises:
        UserError: as `transfer`.
    """
    start = experiment.start_from
    if start is None:
        return carry
    state = transfer(carry.state, start, sources)
    best = carry.best
    if best is not None:
        deployed = experiment.algorithm.deployed(experiment, state)
        best = dataclasses.replace(best, state=jax.tree.map(lambda x: x.copy(), deployed))
    return jax.device_put(dataclasses.replace(carry, state=state, best=best), device)


def transfer(state: State, start: StartFrom, sources: Sources | None = None) -> State:
    """``state`` with parameters and model state taken from the run that ``start`` names.

    Raises:
        UserError: if there is no checkpoint, a path of the map or of ``frozen`` names nothing, a parameter is not in
            the source, or shapes differ; every such parameter is listed.
    """
    sources = {} if sources is None else sources
    if start not in sources:
        sources[start] = _source(start)
    source = sources[start]
    here = {"params": state.params, "model_state": state.model_state}
    for prefix in start.frozen:
        _require(prefix, paths(state.params), f"start_from.frozen: this model has no part {prefix!r}")
    for own, theirs in start.map:
        _require(own, paths(state.params), f"start_from.map: this model has no part {own!r}")
        _require(theirs, paths(source["params"]), f"start_from.map: the source has no part {theirs!r}")
    new = {name: _filled(tree, paths(source.get(name) or {}), start, name) for name, tree in here.items()}
    extra = dict(state.extra)
    if "average" in extra:
        extra["average"] = wide(new["params"])
    return dataclasses.replace(state, params=new["params"], model_state=new["model_state"], extra=extra)


def _source(start: StartFrom) -> dict[str, Any]:
    """The deployed state of the source, as nested dicts of arrays."""
    root = Path(start.run)
    folders = [(root / "checkpoints" / "best", "best"), (root / "checkpoints" / "last", "last")]
    if start.weights == "last":
        folders.reverse()
    if root.parent.name == "checkpoints":
        folders = [(root, root.name)]
    elif root.parent.parent.name == "checkpoints" and root.name.isdigit():
        return _state(Checkpoints(root.parent, writable=False), int(root.name), root.parent.name)
    for folder, kind in folders:
        if folder.is_dir():
            checkpoints = Checkpoints(folder, writable=False)
            if (step := checkpoints.latest()) is not None:
                return _state(checkpoints, step, kind)
    raise UserError(f"start_from.run: no checkpoint in {root}. Give a run directory that has trained.")


def _state(checkpoints: Checkpoints, step: int, kind: str) -> dict[str, Any]:
    tree = checkpoints.restore_free(step)
    state = tree if kind == "best" else tree["state"]
    averaged = (state.get("extra") or {}).get("average")
    return {"params": averaged or state["params"], "model_state": state.get("model_state") or {}}


def _filled(tree: Any, source: dict[str, Any], start: StartFrom, name: str) -> Any:
    missing: list[str] = []

    def visit(path: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: visit(f"{path}/{key}" if path else str(key), entry) for key, entry in value.items()}
        theirs = _counterpart(path, start)
        if theirs is None:
            return value
        if theirs not in source:
            missing.append(f"{path}: the source has no {theirs!r}{did_you_mean(theirs, source)}")
        elif np.shape(source[theirs]) != value.shape:
            missing.append(f"{path}: shape {value.shape} here, {np.shape(source[theirs])} in the source")
        else:
            return jnp.asarray(source[theirs], value.dtype)
        return value

    filled = visit("", tree)
    if missing:
        listed = "\n  ".join(missing[:10])
        raise UserError(
            f"start_from: {len(missing)} arrays of {name} do not fit {start.run}:\n  {listed}\n"
            f"Name the parts that fit with start_from.map=((here, there), ...)."
        )
    return filled


def _counterpart(path: str, start: StartFrom) -> str | None:
    """Where an array comes from: its own path without a map, else the mapped one, or None for fresh values."""
    if not start.map:
        return path
    for own, theirs in start.map:
        if lies_below(path, (own,)):
            return theirs + path[len(own) :]
    return None


def _require(prefix: str, known: dict[str, Any], message: str) -> None:
    if not any(lies_below(path, (prefix,)) for path in known):
        parts = sorted({path.rsplit("/", 1)[0] for path in known})
        raise UserError(f"{message}.{did_you_mean(prefix, parts)} Its parts: {', '.join(parts)}.")


def content_hash(start: StartFrom) -> str:
    """Hash of the source's arrays: a run that started from other weights is another run."""
    digest = hashlib.sha256()
    for name, tree in sorted(_source(start).items()):
        for path, array in sorted(paths(tree).items()):
            digest.update(f"{name}/{path}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:12]
