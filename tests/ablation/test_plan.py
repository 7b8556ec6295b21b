"""Plans of ablations: memory as the compiled programs say, waves that fit, refusals with numbers, and times."""

from __future__ import annotations

import dataclasses
import io
import math
from pathlib import Path
from typing import Any

import jax
import pytest
from rich.console import Console
from tiny import EXPERIMENT, QUIET

from research.ablation import memory
from research.ablation.ablation import Ablation
from research.ablation.choice import Choice, choose_way
from research.ablation.groups import Group, Stock, group
from research.ablation.memory import MIB, Memory, TooLarge, refused
from research.ablation.plan import Means, Pace, Planned, plan, plan_tables, time_text
from research.ablation.program import SAVING, GroupProgram, Way
from research.ablation.sources import WINDOW_ENTRIES
from research.data import Augmentation, ImageData, SyntheticTable, SyntheticXray, TableData
from research.errors import UserError
from research.models import CNN
from research.spec import replace

FEATURES, WIDTH, BATCH = 11, 256, 512
ACTIVATIONS = 4 * BATCH * WIDTH
"""Bytes of what a member's layer says of a batch: more than all of its state."""


@pytest.fixture(scope="module")
def wide() -> Group:
    """Four members with large activations."""
    edits = {"model.widths": (WIDTH,), "batch_size": BATCH, "model.dropout": None}
    baseline = replace(EXPERIMENT, edits).replace(data=TableData(source=SyntheticTable(patients=800)))
    (found,) = group(Ablation(baseline=baseline, seeds=4).members(), Stock(), QUIET)
    return found


@pytest.fixture(scope="module")
def needed(wide: Group) -> dict[str, Memory]:
    """What training takes, by number of members and strategy."""
    found = {}
    for count, way in ((1, Way("map")), (4, Way("vmap"))):
        program = GroupProgram(wide.members[:count], wide.outline, way, jax.devices())
        (part,) = program.compile(whole=False).memory
        assert program.resident() == (dataclasses.replace(part, working=0, by=""),)
        found[f"{count} {way}"] = part
    return found


def there_is(monkeypatch: pytest.MonkeyPatch, total: int) -> None:
    """Let so many bytes be free for a wave."""
    monkeypatch.setattr(memory, "free", lambda devices: math.ceil(total / memory.SHARE) + 1)


def test_states_grow_with_members_and_activations_with_those_at_once(needed: dict[str, Memory]) -> None:
    parameters = FEATURES * WIDTH + WIDTH + WIDTH * 2 + 2
    # Parameters, two moments, gradients that are gathered, averaged weights and the best ones.
    state = 4 * 6 * parameters
    for name, part in needed.items():
        count = int(name.split()[0])
        assert part.state == pytest.approx(SAVING * count * state, rel=0.01)
        assert part.order == 5 * WINDOW_ENTRIES  # an index and a mask for each row of a window
        assert part.data > 800 * 4 * FEATURES
        assert part.by == "advance" and part.working > ACTIVATIONS
    assert needed["4 vmap"].working > 4 * ACTIVATIONS


def test_a_wave_that_is_too_large_is_cut(wide: Group, needed: dict[str, Memory], monkeypatch: Any) -> None:
    there: list[int] = []

    def free(devices: Any) -> int:
        there.append(len(jax.live_arrays()))
        return math.ceil((needed["4 vmap"].total - 10) / memory.SHARE) + 1

    monkeypatch.setattr(memory, "free", free)
    (planned,) = plan((wide,), set(), Means(jax.devices()[:1], "vmap"))
    assert len(there) > 2 and there[1:] == there[1:2] * (len(there) - 1)  # what was tried has left the memory
    assert [len(wave) for wave in planned.waves] == [2, 2]
    assert planned.bytes + 2 * ACTIVATIONS < needed["4 vmap"].total
    assert planned.compiled > 0 and math.isnan(planned.training)


def test_a_member_whose_activations_do_not_fit_is_refused(
    wide: Group, needed: dict[str, Memory], monkeypatch: Any
) -> None:
    one = needed["1 map"]
    others = {ready.member.identity for ready in wide.members[1:]}
    there_is(monkeypatch, one.total - ACTIVATIONS // 2)
    for strategy in ("map", "auto"):
        with pytest.raises(UserError, match=r"baseline/seed=0: .* batch_size or the model smaller") as told:
            plan((wide,), others, Means(jax.devices()[:1], strategy))
        for size in (one.total, one.state, one.data, one.working):
            assert f"{size / MIB:,.1f}" in str(told.value)
        assert "while the program runs that trains it" in str(told.value)


def test_ways_that_do_not_fit_are_not_taken(wide: Group, monkeypatch: Any) -> None:
    """However fast they are."""
    costs = {"map on 2 devices": 10.0, "map": 15.0, "separate": 12.0}

    def cost(group: Group, members: Any, way: Way, devices: Any) -> float:
        if str(way) not in costs:
            raise TooLarge(Memory(1, 1, 1), 2)
        return costs[str(way)]

    monkeypatch.setattr("research.ablation.choice._cost", cost)
    monkeypatch.setattr("research.ablation.choice.WORTH_MEASURING", 0)
    assert choose_way(wide, wide.members, jax.devices(), "auto", False, {}) == Choice(Way("map", 2), costs)
    costs["vmap on 2 devices"] = 6.0
    assert choose_way(wide, wide.members, jax.devices(), "auto", False, {}).way == Way("vmap", 2)
    assert choose_way(wide, wide.members, jax.devices(), "auto", True, {}).way == Way("map", 2)


def test_where_others_train_states_and_data_are_counted(
    wide: Group, needed: dict[str, Memory], monkeypatch: Any
) -> None:
    means = Means(jax.devices()[:1], "map", compiles=False)
    one = needed["1 map"]
    there_is(monkeypatch, one.total - one.working)
    (planned,) = plan((wide,), set(), means)
    assert planned.size == 1 and planned.bytes == one.total - one.working and math.isnan(planned.compiling)
    there_is(monkeypatch, one.total - one.working - 10)
    with pytest.raises(UserError, match=r"one member needs .* \(.* for its state, .* for the order of the rows\), and"):
        plan((wide,), set(), means)


@pytest.mark.parametrize("feed", ["resident", "streaming"])
def test_variants_of_an_augmentation_have_the_same_rows(feed: Any) -> None:
    """Folds share pictures in memory, of which each has some; from disk each is a wave. Other preprocessing: others."""
    films = ImageData(source=SyntheticXray(patients=40, films=1, size=32), augmentation=Augmentation(rotation=20.0))
    edits = {"model": CNN(widths=(4,), dense_widths=()), "batch_size": 8, "data": films}
    grid = {"data.augmentation.rotation": [5.0, 10.0, 20.0]}

    def planned(**changes: Any) -> tuple[int, int, int]:
        ablation = Ablation(baseline=replace(EXPERIMENT, edits), seeds=2, **changes)
        (found,) = group(ablation.members(), Stock(), QUIET.replace(feed=feed))
        (its,) = plan((found,), set(), Means(jax.devices()[:1], "map", compiles=False))
        return len(found.members), len(its.waves), its.memory[0].data

    one = planned()
    assert planned(grid=grid) == (6, 1, one[2])
    assert planned(variants={"balanced": {"data.balanced": True}})[:2] == (4, 1)
    members, waves, size = planned(folds=2)
    assert (members, waves) == (4, 1 if feed == "resident" else 2) and size < 1.1 * one[2]
    scaled = Ablation(baseline=EXPERIMENT, variants={"scaled": {"data.preprocessing.scale": "minmax"}}, seeds=1)
    (found,) = group(scaled.members(), Stock(), QUIET)
    first, second = found.members
    assert first.data == second.data and first.rows != second.rows


@pytest.mark.parametrize(
    ("told", "names", "place", "file"),
    [
        ("0::/job/step", ("memory.max", "memory.current"), "", "inactive_file"),
        (
            "3:cpu:/other\n4:cpuacct,memory:/job/step",
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
            "memory",
            "total_inactive_file",
        ),
    ],
)
def test_limits_of_control_groups_hold(
    told: str, names: tuple[str, str], place: str, file: str, tmp_path: Path, monkeypatch: Any
) -> None:
    """Of the group of this process and of those above it; files that were not used lately are free."""
    monkeypatch.setattr(memory, "ROOT", tmp_path)
    devices = jax.devices("cpu")
    assert memory.free(devices) == 4 * 2**30  # nothing is told

    def write(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(f"{text}\n")

    write("proc/meminfo", "MemTotal: 90000 kB\nMemAvailable: 8000 kB")
    write("proc/self/cgroup", told)
    assert memory.free(devices) == 8000 * 1024  # a group that is not there
    root = f"sys/fs/cgroup/{place}"
    write(f"{root}/job/step/{names[0]}", "max")
    write(f"{root}/job/step/{names[1]}", "1000")
    assert memory.free(devices) == 8000 * 1024
    write(f"{root}/job/{names[0]}", "5000")
    write(f"{root}/job/{names[1]}", "4000")
    assert memory.free(devices) == 1000
    write(f"{root}/job/memory.stat", f"anon 10\n{file} 500")
    assert memory.free(devices) == 1500
    write(f"{root}/{names[0]}", "700")
    write(f"{root}/{names[1]}", "900")
    assert memory.free(devices) == 0


def test_what_helps_is_said_of_what_is_largest() -> None:
    large = {
        "execution.feed=streaming": Memory(5 * MIB, 0, MIB, MIB, "advance"),
        "Make the model smaller": Memory(MIB, 0, 5 * MIB, MIB, "advance"),
        "Make evaluation.batch_size or the model smaller": Memory(MIB, 0, MIB, 5 * MIB, "rows of test"),
    }
    for advice, each in large.items():
        assert advice in str(refused("a/seed=0", each, MIB)) and "needs 7.0 MiB" in str(refused("a/seed=0", each, MIB))
    assert str(refused("a/seed=0", Memory(5 * MIB, 0, MIB), MIB, streamed=True)).endswith("Make batch_size smaller.")


def test_what_is_tried_after_a_wave_that_is_too_large() -> None:
    def tried(size: int, *, data: int, rest: int, room: int) -> int:
        return TooLarge(Memory(data, 0, 0, rest, "advance"), room).fewer(size)

    assert tried(8, data=10, rest=80, room=89) == 4  # half, for some of it may not shrink
    assert tried(100, data=10, rest=1000, room=60) == 5
    assert tried(2, data=10, rest=1000, room=60) == 1 == tried(9, data=10, rest=1000, room=5)


def planned_of(wide: Group, size: int, **more: Any) -> Planned:
    return Planned(
        wide, wide.members, Choice(Way("map"), {}), size, (Memory(MIB, 0, 2 * MIB, 4 * MIB, "advance"),), **more
    )


def test_times_are_sums_of_what_was_measured(wide: Group) -> None:
    """60 updates and 6 evaluations of 4 members."""
    one = planned_of(wide, 4, compiled=7.0, chosen=2.0, pace=Pace(1e5, 3.0))
    assert one.compiling == 7 and one.training == pytest.approx(0.1 * 4 * 60 + 3 * 6) and one.bytes == 7 * MIB
    # Waves of three and of one: two programs, and four thirds of the evaluations of a wave of three.
    two = planned_of(wide, 3, compiled=7.0, pace=Pace(1e5, 3.0))
    assert two.compiling == 14 and two.training == pytest.approx(0.1 * 4 * 60 + 3 * 6 * 4 / 3)
    apart = dataclasses.replace(two, choice=Choice(Way("separate"), {}))
    assert apart.compiling == 14  # the last wave has one seed
    assert dataclasses.replace(apart, size=2).compiling == 7
    unmeasured = planned_of(wide, 2)
    assert math.isnan(unmeasured.compiling) and math.isnan(unmeasured.training)
    assert time_text([one, two]) == ", about 21 s of compiling, 2 s of choosing ways, 90 s of training"
    assert time_text([unmeasured]) == ""


def test_the_plan_fits_80_columns(wide: Group) -> None:
    console = Console(width=80, file=io.StringIO(), color_system=None)
    long = dataclasses.replace(wide, cadence=dataclasses.replace(wide.cadence, total=10**7))
    way = Choice(Way("separate", 128), {})
    large = (Memory(900_000 * MIB, 0, 0),)
    for each in (
        planned_of(wide, 4, compiled=7.0, pace=Pace(12.3, 0.0)),
        dataclasses.replace(planned_of(long, 1, compiled=1e6, pace=Pace(1e5, 9.0)), choice=way, memory=large),
    ):
        for part in plan_tables([each]):
            console.print(part)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text
    assert all(word in text for word in ("7 MiB", "900,000 MiB", "7 s", "277.8 h", "10,000,000", "baseline"))
