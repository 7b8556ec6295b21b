"""One run, one directory: what is in it, who may write to it, and whether it is the run one thinks it is."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from research.errors import RunError, UserError
from research.experiment import Execution, Experiment
from research.experiment_file import add_to_path, is_loaded, load_module, module_name
from research.spec import fingerprint, from_json, to_json
from research.training.lock import Lock
from research.training.provenance import differences

DETAILS_SHOWN = 12


class RunDirectory:
    """Paths and files of one run below ``runs/<name>/<fingerprint>-s<seed>/``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metrics = path / "metrics.jsonl"
        self.results = path / "results.json"
        self.predictions = path / "predictions"
        self.figures = path / "figures"
        self.last = path / "checkpoints" / "last"
        self.best = path / "checkpoints" / "best"
        self.pace = path / "pace.jsonl"
        self.tensorboard = path / "tensorboard"
        self.profile = path / "profile"
        self.source = path / "experiment.py"
        self._lock = Lock(
            path,
            "run directory",
            "Wait for it, or run with another --seed or another --runs directory.",
            "Choose another with --runs DIR.",
        )

    @staticmethod
    def of(root: Path, name: str, experiment: Experiment, seed: int) -> RunDirectory:
        """The directory that belongs to a run by default."""
        return RunDirectory(root / name / f"{fingerprint(experiment)}-s{seed}")

    def open(self) -> None:
        """Create the directory where it is missing and claim it for this process until `close` or the process's end.

        Raises:
            UserError: if it cannot be written, or another process works in it.
        """
        self._lock.acquire()

    def close(self) -> None:
        """Let others have the directory."""
        self._lock.release()

    def exists(self) -> bool:
        """Whether a run has been recorded here; `write_identity` writes ``experiment.json`` last."""
        return (self.path / "experiment.json").is_file()

    def untouched(self) -> bool:
        """Whether the run has left nothing but its identity, because it failed before its first update."""
        return not any(path.exists() for path in (self.metrics, self.last, self.results))

    def write_identity(
        self,
        name: str,
        experiment: Experiment,
        seed: int,
        execution: Execution,
        environment: dict[str, Any],
        data: dict[str, Any],
        source: Path | None,
        devices: int | None = None,
    ) -> None:
        """Record what this run is, before its first update; ``devices`` as in `record_execution`.

        Raises:
            UserError: if the directory holds things that no run has put there.
        """
        known = {"run.lock", "experiment.json", "execution.json", "environment.json", "data.json", "experiment.py"}
        strange = sorted(p.name for p in self.path.iterdir() if p.name not in known and not p.name.endswith(".part"))
        if strange:
            raise UserError(
                f"{self.path}: not a run directory, for it holds {', '.join(strange[:5])} but no experiment.json. "
                f"Choose an empty or new directory."
            )
        if source is not None:
            shutil.copyfile(source, self.source)
        carried_out = {"execution": to_json(execution), "virtual_devices": devices, "extended_to": None, "earlier": []}
        write_json(self.path / "execution.json", carried_out)
        write_json(self.path / "environment.json", {"sessions": [{"from_update": 0} | environment]})
        write_json(self.path / "data.json", data)
        module = module_name(source) if source is not None else None
        folder = str(source.resolve().parent) if source is not None else None
        identity = {"name": name, "seed": seed, "fingerprint": fingerprint(experiment)}
        identity |= {"module": module, "folder": folder}
        write_json(self.path / "experiment.json", identity | {"experiment": to_json(experiment)})

    def record_execution(self, execution: Execution, devices: int | None, extended_to: int | None) -> None:
        """Record how the run goes on; what it was carried out with before is kept under ``earlier``.

        Args:
            execution: as it was asked for.
            devices: virtual ones over which the rows are spread, where a processor trains.
            extended_to: updates of a run that was extended.
        """
        old = self.read("execution")
        now = {"execution": to_json(execution), "virtual_devices": devices, "extended_to": extended_to}
        before = {"virtual_devices": None} | {key: value for key, value in old.items() if key != "earlier"}
        if now != before:
            write_json(self.path / "execution.json", now | {"earlier": [*old["earlier"], before]})

    def virtual_devices(self) -> int | None:
        """Those of a processor over which the run was spread last; None on other devices, or where it is not known."""
        return self.read("execution").get("virtual_devices")

    def execution(self) -> Execution:
        """How the run was carried out last, as it was asked for."""
        found = from_json(self.read("execution")["execution"])
        assert isinstance(found, Execution)
        return found

    def environment(self) -> dict[str, Any]:
        """The environment in which the run went on last."""
        latest = self.read("environment")["sessions"][-1]
        return {key: value for key, value in latest.items() if key != "from_update"}

    def record_environment(self, environment: dict[str, Any], step: int) -> None:
        """Record an environment that differs from the last one, and the update from which it makes the result."""
        sessions = self.read("environment")["sessions"]
        if differences(self.environment(), environment):
            write_json(self.path / "environment.json", {"sessions": [*sessions, {"from_update": step} | environment]})

    def results_reach(self, updates: int) -> bool:
        """Whether there are results of at least this many updates."""
        return self.results.exists() and self.read("results")["total_updates"] >= updates

    def read(self, name: str) -> dict[str, Any]:
        """One of the directory's JSON files, by its name without ending.

        Raises:
            UserError: if the directory is no run directory or the file is missing or damaged.
        """
        path = self.path / f"{name}.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            if not self.path.is_dir():
                raise UserError(f"{self.path}: there is no such run directory.") from None
            if name == "results" and self.exists():
                raise UserError(
                    f"{self.path}: this run has not finished. Run its command again to resume it."
                ) from None
            raise UserError(f"{self.path}: not a run directory, for {path.name} is missing.") from None
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path}: not readable ({error}). If it is damaged, run the experiment anew with --fresh (the old run "
                f"is kept beside the new one)."
            ) from None

    def experiment(self) -> tuple[Experiment, int, str]:
        """The recorded experiment, its seed and its name."""
        identity = self.read("experiment")
        if identity["module"] is not None and not is_loaded(self.source, identity["module"]):
            # What the file imports from beside it lies where it was; the copy here has precedence.
            add_to_path(Path(identity["folder"]))
            load_module(self.source, identity["module"])
        return from_json(identity["experiment"]), int(identity["seed"]), str(identity["name"])

    def check_identity(
        self,
        experiment: Experiment,
        seed: int,
        environment: dict[str, Any],
        data: dict[str, Any],
        accept_changes: bool,
    ) -> list[str]:
        """Refuse to take this run for another one; returns notes on what may change the bits of the result.

        Raises:
            UserError: if experiment, seed, data or code are not those of the run; what differs is printed.
        """
        recorded = self.read("experiment")
        changed = differences(recorded["experiment"], to_json(experiment))
        if recorded["seed"] != seed:
            changed["seed"] = (recorded["seed"], seed)
        if changed:
            raise UserError(
                f"{self.path}: another experiment was run here.{_listed(changed)}\nChoose another directory."
            )
        old_data = self.read("data")
        if any(old_data.get(key) != data.get(key) for key in ("fingerprint", "start_from")):
            changed = differences(old_data, data)
            raise UserError(
                f"{self.path}: this run was made from other data.{_listed(changed)}\n"
                f"Restore the data, or start anew with --fresh (the old run is kept beside the new one)."
            )
        old = self.environment()
        changed = differences(old, environment)
        if "code" in changed and not accept_changes:
            raise UserError(
                f"{self.path}: this run was made by other code ({old.get('commit')}, code {old.get('code')}; now "
                f"{environment['commit']}, code {environment['code']}). Use the old code, or start anew with --fresh "
                f"(the old run is kept beside the new one), or take it as it is with --accept-changes."
            )
        return [
            f"{path} was {was!r} when this run went on and is {now!r} now: equality to the bit is not promised"
            for path, (was, now) in changed.items()
            if path not in ("commit", "dirty")
        ]

    def set_aside(self) -> Path:
        """Rename the run to make room for a fresh one; nothing is deleted. Returns the new name."""
        number = 1
        while (target := self.path.with_name(f"{self.path.name}.old{number}")).exists():
            number += 1
        os.rename(self.path, target)
        return target


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write JSON so that a reader sees the old file or the whole new one, never half of it.

    Raises:
        RunError: if it cannot be written, for instance on a full disk.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with open(part, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=1, allow_nan=True)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise RunError(
            f"{path}: cannot be written ({error.strerror}). Free some disk space or check the permissions, then run "
            f"the same command again."
        ) from None


def _listed(changed: dict[str, tuple[Any, Any]]) -> str:
    lines = [f"\n  {path}: {was!r} there, {now!r} here" for path, (was, now) in changed.items()]
    more = f"\n  ... and {len(lines) - DETAILS_SHOWN} more" if len(lines) > DETAILS_SHOWN else ""
    return "".join(lines[:DETAILS_SHOWN]) + more
