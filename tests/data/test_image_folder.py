"""Pictures in folders: classes, splits, patients, sizes, colours, and files that are not what they should be."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from research.data import ImageData, Images
from research.data.formats import ImageFolder
from research.errors import UserError
from research.spec import check, from_json, to_json

Draw = Callable[..., Path]


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    """Writes one picture below the folder; its content follows from its name."""

    def draw(name: str, size: tuple[int, int] = (6, 8), mode: str = "L", **options: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = size if mode == "L" else (*size, len(mode))
        pixels = np.random.default_rng(len(name) + sum(map(ord, name))).integers(0, 256, shape, np.uint8)
        Image.fromarray(pixels, mode).save(path, **options)
        return path

    return draw


@pytest.fixture
def folder(draw: Draw, tmp_path: Path) -> str:
    for split in ("train", "val", "test"):
        for name in ("normal", "abnormal"):
            for number in range(2):
                draw(f"{split}/{name}/p{number}{split[-1]}_{name[0]}.png")
    return str(tmp_path)


def _load(**options: Any) -> Images:
    source = ImageFolder(**options)
    check(source)
    assert from_json(to_json(source)) == source
    images = source.load()
    assert images.about.notes[: len(source.about().notes)] == source.about().notes
    return images


def _fails(message: str, **options: Any) -> None:
    with pytest.raises(UserError, match=message):
        _load(**options)


def test_splits_classes_and_patients(folder: str) -> None:
    images = _load(path=folder, patient=r"^(p\d\w)_")
    assert images.task.names == ("normal", "abnormal") and images.task.kind == "binary"
    assert images.shape == (6, 8, 1) and len(images) == 12
    assert images.names is not None and images.names[0] == "test/abnormal/p0t_a.png"
    assert images.names.tolist() == sorted(images.names)
    assert images.targets.tolist() == [1, 1, 0, 0] * 3 and images.targets.dtype == np.int32
    assert images.split is not None and images.split.tolist() == ["test"] * 4 + ["train"] * 4 + ["validation"] * 4
    assert images.patient is not None and images.patient[:5].tolist() == ["p0t", "p1t", "p0t", "p1t", "p0n"]
    assert images.row.tolist() == list(range(12))
    assert "6 patients by the pattern of patient, such as 'p0t' in 'p0t_a.png'" in images.about.notes
    for position in (0, 7):
        path = Path(folder) / images.names[position]
        np.testing.assert_array_equal(images.read(position)[:, :, 0], np.asarray(Image.open(path)))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(images.read))(3), images.read(3))


def test_classes_without_splits_at_any_depth(draw: Draw, tmp_path: Path) -> None:
    draw("b/x.PNG")
    draw("a/one/deep/y.jpg")
    draw("c/z.bmp")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "a/.DS_Store").write_text("")
    (tmp_path / "notes.txt").write_text("")
    draw("c/w.gif")
    images = _load(path=str(tmp_path))
    assert images.split is None and images.patient is None
    assert images.task.names == ("a", "b", "c") and images.task.kind == "multiclass"
    assert images.names is not None and images.names.tolist() == ["a/one/deep/y.jpg", "b/x.PNG", "c/z.bmp"]
    assert images.about.notes[-1] == "files of other kinds ignored: 1 (.gif), 1 (.txt)"
    assert _load(path=str(tmp_path), classes=("c", "a", "b")).targets.tolist() == [1, 2, 0]
    by_folder = _load(path=str(tmp_path), patient=r"(?P<patient>\w+)(/|\.)").patient
    assert by_folder is not None and by_folder.tolist() == ["one", "x", "z"]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"positive": "cat"}, ("dog", "cat")),
        ({"positive": "dog"}, ("cat", "dog")),
        ({"classes": ("dog", "cat")}, ("dog", "cat")),
        ({"classes": ("dog", "cat"), "positive": "dog"}, ("cat", "dog")),
    ],
)
def test_positive_class_is_declared(draw: Draw, tmp_path: Path, options: Any, names: tuple[str, ...]) -> None:
    draw("cat/a.png")
    draw("dog/b.png")
    images = _load(path=str(tmp_path), **options)
    assert images.task.names == names
    assert images.targets.tolist() == [names.index("cat"), names.index("dog")]
    _fails(r"which class is positive: 'cat' \(1\), 'dog' \(1\)\? Declare positive='cat' or 'dog'", path=str(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patient": r"^(q\d)_"}, r"patient: .* in none of 12 file names; in 'p0t_a.png' it finds none"),
        ({"patient": r"^(p\d\w)_a"}, r"in only 6 of 12 file names; in 'p0t_n.png'"),
        ({"patient": r"^p\d_"}, r"has 0 groups"),
        ({"patient": r"(p)(\d)"}, r"has 2 groups.*\?P<patient>"),
        ({"patient": r"(p"}, r"no regular expression"),
        ({"classes": ("normal", "abnorml")}, r"no folder 'abnorml'\. Did you mean 'abnormal'\?"),
        ({"classes": ("normal", "abnormal", "tumour")}, r"no folder 'tumour'"),
        ({"classes": ("normal",)}, r"at least two"),
        ({"classes": ("normal", "normal")}, r"'normal' is declared twice"),
        ({"positive": "tumour"}, r"positive: 'tumour' is none of the classes of"),
        ({"size": (0, 8)}, r"size\.0"),
        ({"color": "gray"}, r"color: .*Did you mean 'grey'"),
        ({"path": " "}, r"path: the path of a folder"),
        ({"path": "nowhere_at_all"}, r"'nowhere_at_all' was not found"),
    ],
)
def test_declarations_that_do_not_fit(folder: str, options: Any, message: str) -> None:
    _fails(message, **({"path": folder} | options))


def test_folders_that_do_not_fit(folder: str, draw: Draw, tmp_path: Path) -> None:
    _fails(r"is a file; give the path of a folder", path=str(draw("test/normal/p0t_n.png")))
    (tmp_path / "train/cyst").mkdir()
    (tmp_path / "train/cyst/scan.gif").write_bytes(b"GIF89a")
    _fails(r"holds no pictures: train/cyst\. Copy .* Files of other kinds there: \.gif", path=folder)
    (tmp_path / "train/cyst/scan.gif").rename(tmp_path / "train/cyst/scan.png")
    (tmp_path / "train/cyst").rename(tmp_path / "train/Normal ")
    _fails(r"are the folders 'Normal ', 'normal' one class", path=folder)
    (tmp_path / "train/Normal /scan.png").rename(tmp_path / "train/scan.png")
    _fails(r"1 pictures lie in no class folder.*: train/scan\.png\. .*split/class/", path=folder)


def test_layouts_that_do_not_fit(folder: str, draw: Draw, tmp_path: Path) -> None:
    (tmp_path / "valid/normal").mkdir(parents=True)
    _fails(r"the folders val, valid all mean the validation split", path=folder)
    (tmp_path / "valid").rename(tmp_path / "extra")
    _fails(r"folders of splits \(test, train, val\) and others: 'extra'", path=folder)
    _fails(r"has no folders, only 2 pictures.*ImagesCSV", path=f"{folder}/train/normal")
    (tmp_path / "extra/normal").rmdir()
    _fails(r"no folders, only 0 pictures", path=f"{folder}/extra")
    draw("extra/only/x.png")
    _fails(r"one class only, 'only'", path=f"{folder}/extra")


def test_sizes(draw: Draw, tmp_path: Path) -> None:
    draw("no/a.png")
    draw("no/b.png")
    draw("yes/c.png", (4, 9))
    path = str(tmp_path)
    _fails(r"2 different sizes, height x width: 6 x 8 \(2\), 4 x 9 \(1\)\. .*size=\(224, 224\)", path=path)
    original = Image.open(tmp_path / "yes/c.png")
    stretched = _load(path=path, size=(5, 6)).read(2)
    np.testing.assert_array_equal(stretched[:, :, 0], np.asarray(original.resize((6, 5), Image.Resampling.BILINEAR)))
    fitted = _load(path=path, size=(6, 6), resize="fit").read(2)[:, :, 0]
    inner = np.asarray(original.resize((6, 3), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(fitted[1:4], inner)
    assert not fitted[[0, 4, 5]].any()
    cropped = _load(path=path, size=(4, 5), resize="crop").read(2)[:, :, 0]
    np.testing.assert_array_equal(cropped, np.asarray(original)[:, 2:7])
    note = _load(path=path, size=(4, 5), resize="crop").about.notes[-1]
    assert note == "every picture is brought to 4 x 5 (crop)"


def test_colours(draw: Draw, tmp_path: Path) -> None:
    draw("no/a.png")
    draw("yes/b.png", mode="RGB")
    path = str(tmp_path)
    _fails(r"color: .*1 grey \(such as no/a\.png\), 1 rgb \(such as yes/b\.png\)\. Set color", path=path)
    grey, rgb = _load(path=path, color="grey"), _load(path=path, color="rgb")
    assert grey.shape == (6, 8, 1) and rgb.shape == (6, 8, 3)
    pixels = np.asarray(Image.open(tmp_path / "yes/b.png"))
    np.testing.assert_array_equal(rgb.read(1), pixels)
    np.testing.assert_allclose(grey.read(1)[:, :, 0], pixels @ [0.299, 0.587, 0.114], atol=0.51)
    np.testing.assert_array_equal(rgb.read(0), np.repeat(grey.read(0), 3, axis=2))
    assert grey.signature != rgb.signature


def test_every_kind_of_pixel_becomes_a_byte(tmp_path: Path) -> None:
    def stored(image: Image.Image, name: str, **options: Any) -> np.ndarray:
        for kind in ("no", "yes"):
            (tmp_path / name.partition(".")[0] / kind).mkdir(parents=True, exist_ok=True)
            image.save(tmp_path / name.partition(".")[0] / kind / name, **options)
        images = _load(path=str(tmp_path / name.partition(".")[0]))
        assert images.read(0).shape == images.shape
        return images.read(0)

    deep = np.asarray([[0, 128, 129, 257, 65535 - 129, 65535]], np.uint16)
    for suffix in ("png", "tif"):
        assert stored(Image.fromarray(deep), f"deep{suffix}.{suffix}")[0, :, 0].tolist() == [0, 0, 1, 1, 254, 255]
    for_note = "2 pictures have 16 bits, with 65535 taken as white; if they are too dark, set white=4095 (12 bits)"
    assert for_note in _load(path=str(tmp_path / "deeppng")).about.notes
    assert stored(Image.new("1", (2, 2), 1), "bits.png").ravel().tolist() == [255] * 4
    cyan = stored(Image.new("CMYK", (2, 2), (255, 0, 0, 0)), "ink.tif")
    assert cyan[0, 0].tolist() == [0, 255, 255]
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert stored(palette, "palette.png")[0, 0].tolist() == [10, 20, 30]
    assert stored(palette, "clear.png", transparency=1)[0, 0].tolist() == [0, 0, 0]
    assert stored(Image.new("RGBA", (2, 2), (200, 100, 50, 128)), "alpha.png")[0, 0].tolist() == [100, 50, 25]
    assert stored(Image.new("LA", (2, 2), (200, 0)), "greyalpha.png").tolist() == [[[0]] * 2] * 2


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_twelve_bits_in_sixteen(tmp_path: Path, suffix: str) -> None:
    deep = np.asarray([[0, 8, 9, 2047, 4095, 5000]], np.uint16)
    for kind in ("no", "yes"):
        (tmp_path / kind).mkdir()
        Image.fromarray(deep).save(tmp_path / kind / f"a.{suffix}")
    assert _load(path=str(tmp_path)).read(0).ravel().tolist() == [0, 0, 0, 8, 16, 19]
    images = _load(path=str(tmp_path), white=4095)
    assert images.read(0).ravel().tolist() == [0, 0, 1, 127, 255, 255]
    assert "the grey value 4095 of 16-bit files becomes white" in images.about.notes
    assert images.signature != _load(path=str(tmp_path)).signature
    assert not any("65535" in note for note in images.about.notes)
    _fails(r"white: .*65535", path=str(tmp_path), white=65536)


def test_folders_of_grades_are_in_order(draw: Draw, tmp_path: Path) -> None:
    for name in ("10", "2", "1"):
        draw(f"{name}/x{name}.png")
    assert _load(path=str(tmp_path)).task.names == ("1", "2", "10")
    task = _load(path=str(tmp_path), ordinal=True).task
    assert task.ordinal and task.names == ("1", "2", "10")
    (tmp_path / "10").rename(tmp_path / "bad")
    _fails(r"ordinal: the order of '1', '2', 'bad' is not known", path=str(tmp_path), ordinal=True)
    assert _load(path=str(tmp_path), ordinal=True, classes=("1", "2", "bad")).task.ordinal
    (tmp_path / "bad/x10.png").unlink()
    (tmp_path / "bad").rmdir()
    _fails(r"ordinal: three or more classes have an order", path=str(tmp_path), ordinal=True, classes=("1", "2"))


def _damage(folder: str) -> None:
    good = Path(folder) / "train/normal"
    (good / "a_empty.png").write_bytes(b"")
    (good / "b_text.jpg").write_text("no picture at all")
    (good / "c_gif.png").write_bytes(b"GIF89a\x01\x00\x01\x00\x00\x00\x00;")
    whole = (good / "p0n_n.png").read_bytes()
    (good / "d_header.png").write_bytes(whole[:20])


def test_files_that_are_no_pictures(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _damage(folder)
    message = (
        r"4 of 16 pictures of .* cannot be read: train/normal/a_empty\.png is empty; train/normal/b_text\.jpg is no "
        r"PNG.*d_header\.png .*\. Replace or remove them, or leave such files out with unreadable='skip'"
    )
    _fails(message, path=folder)
    # Damage that the header does not show is told with the rest, as far as it is looked for.
    cut = Path(folder) / "val/normal/p0l_n.png"
    whole = cut.read_bytes()
    cut.write_bytes(whole[: len(whole) * 2 // 3])
    _fails(r"^5 of 16 pictures", path=folder)
    with monkeypatch.context() as patch:
        patch.setattr("research.data.formats.pictures.MOST_DECODED", 3)
        _fails(r"^at least 4 of 16 pictures", path=folder)
    cut.write_bytes(whole)
    images = _load(path=folder, unreadable="skip")
    assert len(images) == 12 and images.row[-1] == 15 and images.row.tolist() != list(range(12))
    assert "4 of 16 pictures cannot be read and are left out: train/normal/a_empty.png" in images.about.notes[-1]
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"nothing")
    (tmp_path / "train/normal/b_text.jpg").unlink()
    _fails(r"15 of 15 .*; \.\.\.\. Replace or remove them\.$", path=folder, unreadable="skip")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp"])
def test_truncated_pictures_are_named(draw: Draw, tmp_path: Path, suffix: str) -> None:
    for name in ("no/a", "yes/b", "yes/c"):
        draw(f"{name}.{suffix}", (40, 40))
    damaged = tmp_path / f"yes/b.{suffix}"
    content = damaged.read_bytes()
    damaged.write_bytes(content[: len(content) * 7 // 10])
    images = _load(path=str(tmp_path))
    assert images.read(0).shape == (40, 40, 1)
    with pytest.raises(UserError, match=rf"yes/b\.{suffix} is truncated or damaged"):
        images.read(1)
    kept = _load(path=str(tmp_path), unreadable="skip")
    assert kept.row.tolist() == [0, 2] and f"yes/b.{suffix} is truncated" in kept.about.notes[-1]
    assert kept.targets.tolist() == [0, 1]


def test_pictures_that_are_too_much(draw: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw("no/a.png")
    draw("yes/b.png", (20, 20))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    _fails(r"1 of 2 .*yes/b\.png claims more than 100 pixels", path=str(tmp_path))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    _fails(r"yes/b\.png claims more than 300 pixels", path=str(tmp_path))
    monkeypatch.undo()
    pages = [Image.new("L", (8, 6)) for _ in range(3)]
    pages[0].save(tmp_path / "yes/b.tif", save_all=True, append_images=pages[1:])
    _fails(r"yes/b\.tif holds 3 pictures; save each", path=str(tmp_path), size=(6, 8))
    Image.new("F", (8, 6)).save(tmp_path / "yes/b.tif")
    _fails(r"yes/b\.tif holds pixels of kind 'F'", path=str(tmp_path), size=(6, 8))


def test_a_photograph_with_a_preview_is_its_first_picture(draw: Draw, tmp_path: Path) -> None:
    draw("no/a.jpg")
    first, preview = (Image.new("L", size, 90) for size in ((8, 6), (4, 3)))
    first.save(draw("yes/b.jpg"), format="MPO", save_all=True, append_images=[preview])
    images = _load(path=str(tmp_path))
    assert images.shape == (6, 8, 1)
    np.testing.assert_allclose(images.read(1), 90, atol=1)


def test_prepared_for_training(folder: str, tmp_path: Path) -> None:
    data = ImageData(source=ImageFolder(path=folder, patient=r"^(p\d\w)_"))
    prepared = data.prepare()
    assert [len(examples) for examples in prepared.splits.values()] == [4, 4, 4]
    test = prepared.splits["test"]
    assert test.names is not None and test.names[0] == "test/abnormal/p0t_a.png"
    np.testing.assert_array_equal(test.read(np.arange(1))[0, :, :, 0], np.asarray(Image.open(tmp_path / test.names[0])))
    shutil.copy(tmp_path / "train/normal/p1n_n.png", tmp_path / "test/normal/p5x_n.png")
    warnings = " ".join(data.prepare().warnings)
    assert "such as test/normal/p5x_n.png, which is train/normal/p1n_n.png" in warnings
    (tmp_path / "test/normal/p5x_n.png").rename(tmp_path / "val/normal/p1t_z.png")
    with pytest.raises(UserError, match=r"patient.* in more than one split: 'p1t' \(validation, test\)"):
        data.prepare()


def test_signature_follows_files_and_options(folder: str, draw: Draw) -> None:
    first = _load(path=folder).signature
    assert first == _load(path=folder, positive="normal").signature
    others = {_load(path=folder, size=(6, 8), resize=how).signature for how in ("stretch", "fit")}
    draw("train/normal/p0n_n.png", (6, 8), compress_level=0)
    assert len(others | {first, _load(path=folder).signature}) == 4


def test_a_picture_that_changed_after_loading(folder: str, draw: Draw) -> None:
    images = _load(path=folder)
    draw("test/abnormal/p0t_a.png", (7, 8))
    with pytest.raises(UserError, match=r"p0t_a\.png has a height and width of 7 x 8; 6 x 8 is needed"):
        images.read(0)


def test_links_do_not_go_round_and_lead_to_no_picture_twice(folder: str, tmp_path: Path, tmp_path_factory: Any) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(tmp_path / "test/normal", elsewhere / "more")
    (tmp_path / "train/normal/up").symlink_to(tmp_path / "train")
    (tmp_path / "train/normal/more").symlink_to(elsewhere / "more")
    assert len(_load(path=folder)) == 14
    (tmp_path / "train/normal/tested").symlink_to(tmp_path / "test/normal")
    _fails(r"test/normal/p0t_n.png and train/normal/tested/p0t_n.png are one picture, by a link", path=folder)


def test_splits_below_the_classes_are_not_mixed(draw: Draw, tmp_path: Path) -> None:
    for name in ("normal", "abnormal"):
        for split in ("train", "val"):
            draw(f"{name}/{split}/{split}_{name}.png")
    _fails(r"train, val look like splits, but lie below the classes abnormal, normal.*val/abnormal", path=str(tmp_path))


def test_names_that_are_no_text_can_be_shown_and_stored(draw: Draw, tmp_path: Path) -> None:
    draw("normal/a.png")
    os.rename(draw("abnormal/b.png"), os.fsencode(tmp_path) + b"/abnormal/p\xff_\xc3\xa9.png")
    images = _load(path=str(tmp_path), patient=r"^(\w).*")
    assert images.names is not None and images.names.tolist() == ["abnormal/p\\xff_\u00e9.png", "normal/a.png"]
    assert images.read(0).shape == (6, 8, 1)
    assert str(images.names[0]).encode()


def test_what_is_written_anew_with_its_times_kept_is_read_anew(folder: str) -> None:
    first = _load(path=folder)
    file = Path(folder) / str(first.names[0])  # type: ignore[index]
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    file.write_bytes(file.read_bytes()[::-1])
    os.utime(file, ns=times)
    file.write_bytes(file.read_bytes()[::-1])
    os.utime(file, ns=times)
    assert file.stat().st_mtime_ns == times[1]
    assert _load(path=folder).signature != first.signature


def test_cifar10_small(data_dir: Path) -> None:
    images = _load(path=str(data_dir / "cifar10_small/test"))
    assert images.shape == (32, 32, 3) and images.split is None
    assert np.bincount(images.targets).tolist() == [100] * 10
    assert images.task.names[:2] == ("airplane", "automobile")
    assert images.read(17).std() > 10
