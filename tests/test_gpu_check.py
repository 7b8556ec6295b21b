"""scripts/gpu_check: which rows are asked for, that one that fails is a row, and where the table goes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

# At the end: modules of the tests have the names of some of the scripts.
sys.path.append(str(Path(__file__).parents[1] / "scripts" / "prove"))

import gpu_check
from gpu_check import DOCUMENT, MARK, Failed, Machine, Row, checked, main, table, written
from gpu_parts import places
from parallel import FAMILIES

LOSSES = {"first": 0.7, "last": 0.5, "example": [0, 1], "prediction": [0.2, 0.4]}


class Pretended(Machine):
    """Parts find what they are told to."""

    def __init__(self, device: str, folder: Path, found: dict[str, Any]) -> None:
        super().__init__(device, folder)
        self.found, self.asked = found, []

    def run(self, part: str, case: str = "", device: str = "", **variables: str) -> Any:
        self.asked.append((part, case, device, variables))
        found = self.found.get(f"{part} {case} {device} {' '.join(variables.values())}".strip(), self.found.get(part))
        if isinstance(found, str):
            raise Failed(found)
        return found


def test_topologies_share_out_a_batch_and_are_none_for_one_device() -> None:
    assert places(1) == {} and list(places(2)) == ["jit data 2", "jit fsdp 2", "jit tensor 2 x data 1", "pmap 2"]
    for count, used in ((3, 2), (8, 8), (12, 8)):
        for processes, devices, parallel in places(count).values():
            assert (processes, devices) == (1, used) == (1, parallel.data * parallel.fsdp * parallel.tensor)


def test_products_in_tf32_have_limits_of_their_own_and_only_on_a_gpu(tmp_path: Path) -> None:
    family = next(iter(FAMILIES))
    near = {family: LOSSES | {"first": 0.7 * 1.001}}
    found = {"parity 1 device cpu": {family: LOSSES}, "parity": near}
    default, highest = checked(Pretended("gpu", tmp_path, found), ["parity"], 1)
    assert default.verdict == "met" and highest.verdict == "MISSED" and highest.found == "1.0e-03, 0"
    assert [row.verdict for row in checked(Pretended("cpu", tmp_path, found), ["parity"], 1)] == ["MISSED"] * 2
    found["parity"] = {family: LOSSES | {"first": float("nan")}}
    assert all(row.wrong for row in checked(Pretended("gpu", tmp_path, found), ["parity"], 1))
    found["parity"] = {family: LOSSES | {"example": [1, 0]}}
    assert all("OTHER ROWS" in row.found for row in checked(Pretended("gpu", tmp_path, found), ["parity"], 1))


def test_kernels_of_the_vendor_are_compared_on_a_gpu_alone(tmp_path: Path) -> None:
    plain = {"losses": [0.7, 0.5], "seconds": 0.02}
    near, far = ({"losses": [0.7, 0.5 * by], "seconds": 0.01} for by in (1 + 1e-4, 2.0))
    found = {"vendor LSTM": {"fast": plain, "vendor": near}, "vendor transformer": {"fast": plain, "vendor": far}}
    found |= {f"{name}  highest": each for name, each in found.items()}
    machine = Pretended("gpu", tmp_path, found)
    rows = checked(machine, ["vendor"], 1)
    assert [row.verdict for row in rows] == ["met", "MISSED"]
    assert rows[0].found == "0, 1.0e-04; 10 ms an update, 20 without"
    assert checked(Pretended("cpu", tmp_path, found), ["vendor"], 1) == []


def test_a_part_that_fails_is_a_row_and_the_others_go_on(tmp_path: Path) -> None:
    kept = {"updates": 64, "kills": 2, "resumed": [], "twice": []}
    found = {
        "parity": "exit code 1: no memory",
        "precision": {},
        "resume": kept,
        "resume synthetic_vitals_gru": "exit code 1: lost",
        "resume synthetic_xray_cnn": kept | {"twice": ["3 of 9 arrays differ"], "kills": 0},
    }
    rows = checked(Pretended("gpu", tmp_path, found), ["parity", "precision", "resume"], 1)
    assert [(row.check, row.verdict.split(":")[0]) for row in rows] == [
        ("parity", "FAILED"),
        ("precision", "FAILED"),
        ("resume", "MISSED"),
        ("twice the same", "MISSED"),
        ("resume", "FAILED"),
        ("resume", "met"),
        ("twice the same", "met"),
    ]
    assert rows[0].verdict == "FAILED: exit code 1: no memory" and rows[3].found == "3 of 9 arrays differ"


def test_without_a_gpu_it_says_so_and_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"platform": "cpu", "count": 1, "kind": "cpu"}
    monkeypatch.setattr(Machine, "run", lambda *given, **variables: found)
    assert main([]) == 2
    said = capsys.readouterr().err
    assert said.startswith("There is no GPU here that JAX can use: it finds 1 x cpu.") and "--device cpu" in said


def test_the_table_is_written_before_older_ones_and_only_from_a_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert document.count(MARK) == 1
    first = written(document, table([Row("a", "b | c", "d", "e", "met")], "the first", "about"))
    second = written(first, table([], "the second", "about"))
    assert second.index("### the second") < second.index("### the first")
    assert "| a | b / c | d | e | met |\n" in second and second.startswith(document.partition(MARK)[0])
    with pytest.raises(ValueError, match="is missing"):
        written("no mark", "")
    copy = tmp_path / "gpu.md"
    copy.write_text(document, encoding="utf-8")
    monkeypatch.setattr(gpu_check, "DOCUMENT", copy)
    for device, verdict, expected in (("cpu", "met", 0), ("gpu", "met", 0), ("gpu", "MISSED", 1)):
        facts = {"platform": device, "count": 1, "kind": "NVIDIA X1", "runtime": "", "packages": {"jax": "1"}}
        monkeypatch.setattr(Machine, "run", lambda *given, found=facts, **variables: found)
        monkeypatch.setitem(gpu_check.RUN, "speed", lambda *given, is_=verdict: iter([Row("s", "", "", "", is_)]))
        assert main(["--only", "speed", "--device", device]) == expected
        assert ("NVIDIA X1" in copy.read_text(encoding="utf-8")) == (device == "gpu")
    assert "| s |  |  |  | MISSED |" in capsys.readouterr().out


def test_rows_are_kept_where_the_script_is_cut_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    copy = tmp_path / "gpu.md"
    copy.write_text(f"{MARK}\n", encoding="utf-8")
    monkeypatch.setattr(gpu_check, "DOCUMENT", copy)
    facts = {"platform": "gpu", "count": 1, "kind": "NVIDIA X1", "runtime": "", "packages": {}}
    monkeypatch.setattr(Machine, "run", lambda *given, **variables: facts)

    def cut_off(*given: Any) -> Any:
        yield Row("speed", "the first", "", "", "measured")
        yield Row("speed", "the second", "", "", "measured")
        raise KeyboardInterrupt

    monkeypatch.setitem(gpu_check.RUN, "speed", cut_off)
    with pytest.raises(KeyboardInterrupt):
        main(["--only", "speed"])
    kept = copy.read_text(encoding="utf-8")
    assert kept.count("### ") == 1 and kept.count("not ended") == 1 and "the first" in kept and "the second" in kept


def test_a_document_without_a_place_is_said_before_anything_is_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "gpu.md"
    copy.write_text("no mark", encoding="utf-8")
    monkeypatch.setattr(gpu_check, "DOCUMENT", copy)
    facts = {"platform": "gpu", "count": 1, "kind": "NVIDIA X1", "runtime": "", "packages": {}}
    monkeypatch.setattr(Machine, "run", lambda *given, **variables: facts)
    monkeypatch.setitem(gpu_check.RUN, "speed", lambda *given: pytest.fail("it ran"))
    assert main(["--only", "speed"]) == 1
    assert "is missing" in capsys.readouterr().err and copy.read_text(encoding="utf-8") == "no mark"


def test_what_others_write_into_the_document_meanwhile_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    copy = tmp_path / "gpu.md"
    copy.write_text(f"{MARK}\nolder\n", encoding="utf-8")
    monkeypatch.setattr(gpu_check, "DOCUMENT", copy)
    gpu_check.replace_table("", "first row\n")
    copy.write_text("a heading\n" + copy.read_text(encoding="utf-8"), encoding="utf-8")
    gpu_check.replace_table("first row\n", "first row\nsecond row\n")
    kept = copy.read_text(encoding="utf-8").split("\n")
    assert [line for line in kept if line] == ["a heading", MARK.strip(), "first row", "second row", "older"]
