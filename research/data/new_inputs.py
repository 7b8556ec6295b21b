"""What a finished run reads new rows with, from what it wrote about its data; the data itself is not needed."""

from __future__ import annotations

from typing import Any

from research.data.new_rows import NewPictures, NewTables
from research.data.new_sequences import NewRecords, NewSeries, new_records, new_series
from research.data.prepare import Data, task_of
from research.data.preprocessing import FittedPreprocessing
from research.spec import from_json


def new_inputs(summary: dict[str, Any], data: Data) -> tuple[NewTables | NewPictures | NewSeries | NewRecords, Data]:
    """What reads new rows for a finished run, and its data with the statistics of train filled in.

    Args:
        summary: what `research.data.prepare.Prepared.summary` wrote.
        data: the experiment's data.

    Raises:
        UserError: if the summary was written by other code.
    """
    if "preprocessing" in summary:
        return NewTables(FittedPreprocessing.from_json(summary["preprocessing"]), data.source), data
    if "series" in summary:
        series = new_series(summary["series"], data, task_of(summary))
        return series, series.data
    if "events" in summary:
        records = new_records(summary["events"], data, task_of(summary))
        return records, records.data
    pictures = summary["pictures"]
    height, width, channels = pictures["shape"]
    fitted = data.replace(pixels=from_json(pictures["pixels"]))
    return NewPictures((height, width, channels), data.source), fitted
