"""New rows against the test rows of a training, for the tests of what reads them."""

from __future__ import annotations

import json
from typing import Any

import jax
import numpy as np
import pandas as pd

from research.data.new_inputs import new_inputs
from research.data.new_rows import NewRows
from research.data.new_sequences import NewRecords, NewSeries
from research.data.prepare import Data, Examples, Prepared
from research.data.resident import put


def trained(data: Data) -> tuple[Prepared, NewSeries | NewRecords]:
    """Data as a run prepares it, and what reads new rows for it by its ``data.json``."""
    prepared = data.prepare()
    reader, _ = new_inputs(json.loads(json.dumps(prepared.summary())), data)
    assert isinstance(reader, NewSeries | NewRecords)
    return prepared, reader


def seen(data: Data, inputs: Any, task: Any) -> dict[str, np.ndarray]:
    """What a model sees of prepared inputs."""
    rows = np.arange(len(inputs["length"]), dtype=np.int32)
    targets = task.unknown(len(rows), max(data.cut_lengths(), default=0))
    return jax.device_get(data.transform(put(Examples(inputs, targets, rows, None, rows), task)).inputs)


def check_same(prepared: Prepared, reader: NewSeries | NewRecords, new: NewRows, key: str = "patient") -> None:
    """The new rows are those of test: a model sees the same of each."""
    test = prepared.splits["test"]
    known = seen(prepared.data, test.read(np.arange(len(test))), prepared.task)
    read = new.read(np.arange(new.count, dtype=np.int32))
    blank = reader.blank
    assert {name: (x.shape[1:], x.dtype) for name, x in read.items()} == {
        name: (x.shape[1:], x.dtype) for name, x in blank.items()
    }
    found = seen(reader.data, read, prepared.task)
    names = test.names if key in ("series", "record") else test.patient
    assert names is not None and sorted(map(str, names)) == sorted(map(str, new.columns[key]))
    place = {str(name): row for row, name in enumerate(new.columns[key])}
    order = [place[str(name)] for name in names]
    assert known.keys() == found.keys()
    for name, expected in known.items():
        np.testing.assert_allclose(found[name][order], expected, rtol=1e-6, atol=1e-6, err_msg=name)


def of_test(prepared: Prepared, frame: pd.DataFrame, column: str = "id") -> pd.DataFrame:
    patients = prepared.splits["test"].patient
    assert patients is not None
    return frame[frame[column].astype(str).isin({str(patient) for patient in patients})]
