"""How training users received items, as a dataset keeps it."""

import numpy as np

from metarec.data.dataset import Dataset
from metarec.data.parquet import write_parquet
from metarec.data.reception import Reception, read_reception
from tests.unit.data.test_sides import NUM_NEW, fitted


def dataset(folder, *, with_statistics):
    """Its items alone."""
    found = fitted(with_statistics=with_statistics)
    written = write_parquet(f"{folder}/items.parquet", found.tables["items.parquet"])
    return Dataset(str(folder), {"files": {"items.parquet": written}}, found.schema), found.tables["items.parquet"]


def test_a_dataset_keeps_it_of_every_item(tmp_path):
    opened, table = dataset(tmp_path, with_statistics=True)
    reception = read_reception(opened)
    assert reception.known.tolist() == [True] * (table.num_rows - NUM_NEW) + [False] * NUM_NEW
    assert reception.item_bias[:, 0].tolist() == table["bias.rating"].to_pylist()
    assert reception.factors.shape == (table.num_rows, 8)
    assert reception.vectors.shape == (table.num_rows, 15)
    assert reception.unit_bias.shape == reception.item_bias.shape
    assert {own.dtype for own in reception[1:]} == {np.dtype(np.float64)}
    assert not reception.factors[-NUM_NEW:].any()


def test_a_dataset_without_content_fields_has_none(tmp_path):
    assert read_reception(dataset(tmp_path, with_statistics=False)[0]) is None


def test_further_items_stand_behind_the_others_without_a_rating():
    one = Reception(np.array([3]), np.array([[0.5]]), np.ones((1, 2)), np.ones((1, 3)), np.array([[0.7]]))
    three = one.with_unrated(2)
    assert three.known.tolist() == [True, False, False]
    assert [own[0].tolist() for own in three] == [own[0].tolist() for own in one]
    assert not any(own[1:].any() for own in three)
    assert [own.dtype for own in three] == [own.dtype for own in one]
