"""Preprocessing: fitted on train only, equal to scikit-learn's, and restored exactly."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

from research.data import About, Column, FittedPreprocessing, Preprocessing, Table
from research.errors import UserError
from research.task import Task


def _table(frame: pd.DataFrame) -> Table:
    columns = []
    for name in frame:
        numeric = pd.api.types.is_numeric_dtype(frame[name].dtype)
        categories = () if numeric else tuple(sorted(set(frame[name].dropna())))
        columns.append(Column(str(name), "numeric" if numeric else "categorical", categories))
    count = len(frame)
    return Table(
        frame=frame,
        columns=tuple(columns),
        targets=np.zeros(count, dtype=np.int32),
        task=Task("binary", ("no", "yes")),
        patient=None,
        split=None,
        row=np.arange(count, dtype=np.int32),
        about=About("made up", "a table"),
    )


@pytest.fixture
def messy() -> pd.DataFrame:
    draw = np.random.default_rng(0)
    values = draw.lognormal(3, 1, size=(60, 2))
    values[draw.random((60, 2)) < 0.2] = np.nan
    kind = draw.choice(np.asarray(["a", "b", "c"], dtype=object), size=60)
    return pd.DataFrame({"glucose": values[:, 0], "insulin": values[:, 1], "kind": kind})


@pytest.mark.parametrize("impute", ["median", "mean"])
@pytest.mark.parametrize("scale", ["standard", "minmax", "none"])
def test_equals_scikit_learn(messy: pd.DataFrame, impute: str, scale: str) -> None:
    train = np.arange(60) < 40
    scaler = {"standard": StandardScaler(), "minmax": MinMaxScaler(), "none": "passthrough"}[scale]
    oracle = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy=impute), scaler), ["glucose", "insulin"]),
            ("names", OneHotEncoder(sparse_output=False, handle_unknown="ignore"), ["kind"]),
        ]
    ).fit(messy[train])
    fitted = Preprocessing(impute=impute, scale=scale).fit(_table(messy), train)  # pyright: ignore
    features = fitted.transform(messy)
    assert features.dtype == np.float32
    assert fitted.feature_names == ("glucose", "insulin", "kind=a", "kind=b", "kind=c")
    np.testing.assert_allclose(features, np.asarray(oracle.transform(messy)), rtol=1e-6, atol=1e-6)


def test_rows_outside_train_change_nothing(messy: pd.DataFrame) -> None:
    train = np.arange(60) < 40
    changed = messy.copy()
    changed.loc[40:, ["glucose", "insulin"]] = 1e6
    changed.loc[40:, "kind"] = "unheard of"
    assert Preprocessing().fit(_table(messy), train) == Preprocessing().fit(_table(changed), train)
    # and it is able to fail: a training row does change the statistics
    changed.loc[0, "glucose"] = 1e6
    assert Preprocessing().fit(_table(messy), train) != Preprocessing().fit(_table(changed), train)


def test_json_round_trip_is_exact(messy: pd.DataFrame) -> None:
    fitted = Preprocessing(missing_indicators=True).fit(_table(messy), np.ones(60, dtype=bool))
    restored = FittedPreprocessing.from_json(json.loads(json.dumps(fitted.to_json())))
    assert restored == fitted
    np.testing.assert_array_equal(restored.transform(messy), fitted.transform(messy))


def test_foreign_json_is_refused() -> None:
    with pytest.raises(UserError, match="other code"):
        FittedPreprocessing.from_json({"columns": [{"name": "x", "mystery": 1}]})


def test_missing_indicators() -> None:
    frame = pd.DataFrame({"gaps": [1.0, np.nan, 3.0], "full": [1.0, 2.0, 4.0]})
    fitted = Preprocessing(missing_indicators=True, scale="none").fit(_table(frame), np.ones(3, dtype=bool))
    assert fitted.feature_names == ("gaps", "gaps missing", "full")
    assert fitted.transform(frame).tolist() == [[1, 0, 1], [2, 1, 2], [3, 0, 4]]


def test_unseen_and_missing_categories_are_zero_and_told() -> None:
    frame = pd.DataFrame({"kind": np.asarray(["a", "b", "zzz", None], dtype=object)})
    train = np.asarray([True, True, False, False])
    fitted = Preprocessing().fit(_table(frame), train)
    assert fitted.transform(frame).tolist() == [[1, 0], [0, 1], [0, 0], [0, 0]]
    (note,) = fitted.unfamiliar(frame)
    assert "1 of 4 rows have a category unseen in train ('zzz')" in note
    assert "1 of 4 rows lack the category" in note


def test_missing_in_train_is_a_category_of_its_own() -> None:
    frame = pd.DataFrame({"kind": np.asarray(["a", None, "b"], dtype=object)})
    fitted = Preprocessing().fit(_table(frame), np.ones(3, dtype=bool))
    assert fitted.feature_names == ("kind=a", "kind=b", "kind missing")
    assert fitted.transform(frame).tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]


def test_numbers_outside_the_range_of_train_are_told() -> None:
    frame = pd.DataFrame({"glucose": [80.0, 120.0, 5.4]})
    fitted = Preprocessing().fit(_table(frame), np.asarray([True, True, False]))
    assert fitted.unfamiliar(frame) == ["glucose: 1 of 3 values lie outside the range 80 to 120 seen in train."]
    assert fitted.unfamiliar(frame, numbers=False) == []


@pytest.mark.parametrize("scale", ["standard", "minmax"])
def test_constant_column_becomes_zero(scale: str) -> None:
    frame = pd.DataFrame({"same": [0.1, 0.1, 0.1]})
    fitted = Preprocessing(scale=scale).fit(_table(frame), np.ones(3, dtype=bool))  # pyright: ignore
    assert fitted.transform(frame).tolist() == [[0], [0], [0]]


def test_missing_number_without_imputation_is_an_error() -> None:
    frame = pd.DataFrame({"x": [1.0, np.nan, 3.0]})
    with pytest.raises(UserError, match=r"'x' is missing in 1 training rows, first in row 1.*'median'"):
        Preprocessing(impute=None).fit(_table(frame), np.ones(3, dtype=bool))
    fitted = Preprocessing(impute=None).fit(_table(frame), np.asarray([True, False, True]))
    with pytest.raises(UserError, match=r"'x' is missing in 1 rows, first in row 1"):
        fitted.transform(frame)


def test_column_without_any_training_value_is_an_error() -> None:
    frame = pd.DataFrame({"x": [np.nan, np.nan, 3.0]})
    with pytest.raises(UserError, match="'x' has no value in any of the 2 training rows"):
        Preprocessing().fit(_table(frame), np.asarray([True, True, False]))


def test_lacking_columns_and_text_are_named() -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0], "y": [1.0, 2.0]})
    fitted = Preprocessing().fit(_table(frame), np.ones(2, dtype=bool))
    with pytest.raises(UserError, match=r"lack 1 columns .*: y"):
        fitted.transform(frame.drop(columns="y"))
    with pytest.raises(UserError, match="'y' holds text"):
        fitted.transform(pd.DataFrame({"x": [1.0], "y": np.asarray(["high"], dtype=object)}))
