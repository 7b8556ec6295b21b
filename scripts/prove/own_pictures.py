"""From a folder of pictures to an explained model by the README's own commands; makes the README's pictures.

    python scripts/prove/own_pictures.py [--out docs/figures]

Draws chest-film phantoms into ``films/healthy`` and ``films/disease`` in an empty folder, writes the experiment file
that the README shows, and runs the commands that it names there. The pictures of the run are copied to ``--out``.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from research.data import SyntheticXray

ROOT = Path(__file__).parents[2]
PICTURES = ("roc.png", "explanations.png")


def draw_films(folder: Path, patients: int) -> None:
    """One PNG per film, in a folder by its label, the patient in its name."""
    images = SyntheticXray(patients=patients, size=48).load()
    assert images.patient is not None
    for position, label in enumerate(images.targets):
        place = folder / ("healthy", "disease")[int(label)]
        place.mkdir(parents=True, exist_ok=True)
        name = f"{images.patient[position]}_{position % 2 + 1}.png"
        Image.fromarray(images.read(position)[..., 0]).save(place / name)


def experiment_of_readme() -> str:
    """The experiment file in the README's section on pictures."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"```python\n(from research\.data import [^`]*ImageFolder[^`]*)```", text)
    assert found, "README.md shows no experiment on an ImageFolder"
    return found[1]


def main() -> None:
    """Draw, run, explain, copy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="where to copy the pictures; by default they are only made")
    parser.add_argument("--patients", type=int, default=2000, help="patients, two films of each (2000)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        draw_films(folder / "films", options.patients)
        (folder / "study.py").write_text(experiment_of_readme(), encoding="utf-8")
        research = [sys.executable, "-m", "research"]
        subprocess.run([*research, "run", "study.py"], cwd=folder, check=True)
        (run,) = (folder / "runs" / "study").iterdir()
        subprocess.run([*research, "evaluate", str(run), "--explain", "6"], cwd=folder, check=True)
        new = ["--data", "pictures:films/disease", "--out", "new.csv"]
        subprocess.run([*research, "predict", str(run), *new], cwd=folder, check=True)
        subprocess.run([*research, "data", "show", "study.py", "--augmented"], cwd=folder, check=True)
        for name in PICTURES:
            made = run / "figures" / "test" / name
            assert made.is_file(), f"{made} was not made"
            if options.out is not None:
                options.out.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(made, options.out / name)


if __name__ == "__main__":
    main()
