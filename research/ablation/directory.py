"""One ablation, one directory: its waves of members, what each left, and which of it may be used."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from research.ablation.ablation import Member
from research.ablation.groups import Ready
from research.ablation.program import Way
from research.context import FAST
from research.errors import UserError
from research.experiment_file import add_to_path, is_loaded, load_module, module_name
from research.spec import to_json
from research.training.lock import Lock
from research.training.provenance import differences
from research.training.run_directory import write_json

FORMAT = 1
SHOWN = 3
"""Differences that are named."""


@dataclasses.dataclass(frozen=True)
class Wave:
    """Members that are trained together, and their folder.

    Attributes:
        path: ``waves/<id>`` of the ablation.
        about: what ``wave.json`` holds: ``members`` (name, identity, data, code, experiment), ``way``,
            ``environment`` (with the ``feed``), ``total_updates``, and ``codes`` of the processes that trained it.
    """

    path: Path
    about: dict[str, Any]

    @property
    def memory(self) -> int:
        """Bytes that it was planned to take on all its devices together; 0 where that is not known."""
        return int(self.about["environment"].get("memory", 0))

    @property
    def curves(self) -> Path:
        """Records of the log, a line an event."""
        return self.path / "curves.jsonl"

    @property
    def last(self) -> Path:
        """Checkpoints of the carries of all members."""
        return self.path / "checkpoints"

    @property
    def predictions(self) -> Path:
        """A Parquet file a split."""
        return self.path / "predictions"

    @property
    def results(self) -> Path:
        """What each member came to; written last."""
        return self.path / "results.json"

    @property
    def finished(self) -> bool:
        """Whether all members have been trained and evaluated."""
        return self.results.exists()

    @property
    def identities(self) -> list[str]:
        """What each member trains; see `Member.identity`."""
        return [member["identity"] for member in self.about["members"]]

    @property
    def way(self) -> Way:
        """How the members are gone through, which a resumed wave keeps."""
        return Way(self.about["way"]["strategy"], self.about["way"]["replicas"])

    @property
    def lowerings(self) -> str:
        """How layers compute, as in `Execution`, which a resumed wave keeps, for its bits depend on it."""
        return self.about["environment"].get("lowerings", FAST)

    @property
    def attempts(self) -> Path:
        """A line for each time that a worker of a cluster has begun or taken up the wave."""
        return self.path / "attempts.jsonl"

    @property
    def title(self) -> str:
        """What it is called in messages."""
        first, more = self.about["members"][0]["name"], len(self.about["members"]) - 1
        return f"wave {self.path.name} ({first}{f' and {more} more' if more else ''})"

    @property
    def codes(self) -> list[str]:
        """Hashes of the code of the processes that trained it."""
        return self.about["codes"]

    def note_code(self, code: str) -> None:
        """Record that a process with this code goes on with the wave."""
        if code not in self.codes:
            self.about["codes"] = [*self.codes, code]
            write_json(self.path / "wave.json", self.about)

    def outcome(self) -> dict[str, Any]:
        """What ``results.json`` holds.

        ``split`` that is reported, ``members`` in the order of the wave, ``seconds``, and of ``programs`` the names of
        those that train its members (``training``; the same name is the same program, on whatever device) and how many
        programs of that kind the process had compiled by then, one a device and those that were only tried included
        (``compiled``).
        """
        return read(self.results)

    def attempted(self) -> list[dict[str, Any]]:
        """The workers of a cluster that have begun or taken up the wave: host, process, environment."""
        try:
            lines = self.attempts.read_text(encoding="utf-8").splitlines()
        except OSError:
            return []
        found = []
        for line in lines:
            with contextlib.suppress(ValueError):  # one that is being written, or was when its machine died
                found.append(json.loads(line))
        return found

    def check_devices(self, count: int) -> None:
        """Raise `UserError` where the wave was begun on more devices than there are."""
        if self.way.replicas > count:
            raise UserError(
                f"{self.path}: this wave was begun on {self.way.replicas} devices, and {count} are there. Go on with "
                f"as many (on a cluster by --cpus or --gpus), or train all anew with --fresh."
            )

    @contextlib.contextmanager
    def claimed(self, patience: float = 0.0) -> Iterator[None]:
        """The wave for this process alone.

        Args:
            patience: seconds to wait for another process that has it.

        Raises:
            UserError: if another has it still, or its folder cannot be written.
        """
        lock = Lock(
            self.path,
            "wave",
            "Wait for it, or end it: it may be a job that was sent to a cluster earlier.",
            "Choose another directory with --ablations DIR.",
        )
        deadline = time.monotonic() + patience
        while True:
            try:
                lock.acquire()
                break
            except UserError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(1)
        try:
            yield
        finally:
            lock.release()


class AblationDirectory:
    """Paths and files of one ablation below ``ablations/<name>/``.

    Args:
        path: its folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.plan = path / "ablation.json"
        self.source = path / "ablation.py"
        self._lock = Lock(
            path,
            "ablation directory",
            "Wait for it, or choose another with --ablations DIR.",
            "Choose another with --ablations DIR.",
        )

    def open(self) -> None:
        """Claim the directory for this process; raises `UserError` if another has it or it cannot be written."""
        self._lock.acquire()

    def close(self) -> None:
        """Let others have the directory."""
        self._lock.release()

    def check(self, about: dict[str, Any], fresh: bool = False) -> None:
        """Whether an ablation may use this directory, if it is there.

        Args:
            about: what `write_plan` would write.
            fresh: whether what is there will be set aside.

        Raises:
            UserError: if the directory holds something else, or the ablation of another experiment.
        """
        names = sorted(entry.name for entry in self.path.iterdir()) if self.path.is_dir() else []
        if self.plan.name in names:
            if not fresh:
                self._check_same(self.read_plan(), about)
        elif (strange := [name for name in names if name != "run.lock"]) and not any(
            name.startswith("waves") for name in names
        ):
            raise UserError(
                f"{self.path}: not an ablation directory, for it holds {', '.join(strange[:5])} but no "
                f"ablation.json. Choose an empty or new directory with --ablations DIR."
            )

    def write_plan(self, about: dict[str, Any], source: Path | None) -> None:
        """Record what was asked for last, with a copy of the file that defines classes of the user's own."""
        if source is not None:
            shutil.copyfile(source, self.source)
        module = module_name(source) if source is not None else None
        folder = str(source.resolve().parent) if source is not None else None
        write_json(self.plan, about | {"format": FORMAT, "module": module, "folder": folder})

    def _check_same(self, there: dict[str, Any], about: dict[str, Any]) -> None:
        """Refuse an ablation of another name, and one of another baseline that shares no member with what is here."""
        if there["name"] != about["name"]:
            raise UserError(
                f"{self.path}: the ablation {there['name']!r} is here, not {about['name']!r}. Choose another directory "
                f"with --ablations DIR."
            )
        here = {identity for wave in self.waves() for identity in wave.identities}
        if not here or there["fingerprint"] == about["fingerprint"] or here & {m["identity"] for m in about["members"]}:
            return
        found = differences(there["baseline"], about["baseline"])
        shown = ", ".join(f"{path} {old!r} there and {new!r} now" for path, (old, new) in list(found.items())[:SHOWN])
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise UserError(
            f"{self.path}: the ablation of another experiment is here ({shown}{more}). Choose another directory with "
            f"--ablations DIR, or train all anew with --fresh (the old results are kept)."
        )

    def load_classes(self) -> Path | None:
        """Define the user's own classes again, from the copy; returns it where there is one."""
        plan = self.read_plan()
        if plan["module"] is None:
            return None
        if not is_loaded(self.source, plan["module"]):
            add_to_path(Path(plan["folder"]))
            load_module(self.source, plan["module"])
        return self.source

    def read_plan(self) -> dict[str, Any]:
        """What was asked for last; raises `UserError` if this is no ablation directory."""
        if not self.path.is_dir():
            raise UserError(f"{self.path}: there is no such folder.")
        if not self.plan.exists():
            raise UserError(f"{self.path}: not an ablation directory, for ablation.json is missing.")
        return read(self.plan)

    def waves(self) -> list[Wave]:
        """All waves, finished or not."""
        folders = sorted((self.path / "waves").glob("*/wave.json"))
        return [Wave(file.parent, _upgraded(read(file))) for file in folders]

    def finished(self) -> dict[str, tuple[Wave, int]]:
        """Wave and place in it of each member that has results, by identity."""
        found: dict[str, tuple[Wave, int]] = {}
        for wave in (wave for wave in self.waves() if wave.finished):
            for number, identity in enumerate(wave.identities):
                found.setdefault(identity, (wave, number))
        return found

    def begin(self, members: Sequence[Ready], way: Way, codes: Mapping[str, str], environment: dict[str, Any]) -> Wave:
        """A new wave; what stands there unfinished of the same members is gone on with instead.

        Args:
            members: of one group.
            way: how they are gone through.
            codes: hash of the code behind each, by identity.
            environment: of this process.
        """
        listed = [_described(ready) | {"code": codes[ready.member.identity]} for ready in members]
        about = {
            "members": listed,
            "codes": [environment["code"]],
            "way": dataclasses.asdict(way),
            "environment": environment,
            "total_updates": members[0].cadence.total,
        }
        text = json.dumps([[member[name] for name in ("identity", "data", "code")] for member in listed])
        path = self.path / "waves" / hashlib.sha256(text.encode()).hexdigest()[:12]
        path.mkdir(parents=True, exist_ok=True)
        write_json(path / "wave.json", about)
        return Wave(path, about)

    def training_programs(self) -> set[str]:
        """Names of the programs that have trained the members of finished waves."""
        return {
            name
            for wave in self.waves()
            if wave.finished
            for name in wave.outcome().get("programs", {}).get("training", ())
        }

    def set_aside(self) -> None:
        """Rename the waves and the plan to make room for new ones, damaged or not; nothing is deleted."""
        number = 1
        while any((self.path / f"{name}.old{number}").exists() for name in ("waves", self.plan.name)):
            number += 1
        for path in (self.path / "waves", self.plan):
            if path.exists():
                os.rename(path, path.with_name(f"{path.name}.old{number}"))


def _described(ready: Ready) -> dict[str, Any]:
    member: Member = ready.member
    return {
        "name": member.name,
        "arm": member.arm,
        "seed": member.seed,
        "fold": member.fold,
        "inner": member.inner,
        "identity": member.identity,
        "data": ready.data,
        "experiment": to_json(member.experiment),
    }


def _upgraded(about: dict[str, Any]) -> dict[str, Any]:
    """What ``wave.json`` holds, where it was written before each member had a hash of its own code."""
    if "codes" in about:
        return about
    members = [{"inner": None, "code": about["code"]} | member for member in about["members"]]
    return about | {"codes": [about["code"]], "members": members}


def read(path: Path) -> dict[str, Any]:
    """A JSON file of an ablation; raises `UserError` naming it if it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable ({error}). Restore it, or train anew with --fresh.") from None
