import json

import pytest
import torch

from metarec import storage
from metarec.config import Config, with_values
from metarec.data.biases import fit_biases
from metarec.data.dataset import open_dataset, read_part
from metarec.data.prepare import prepare
from metarec.errors import StorageError


@pytest.fixture
def dataset(ray_cluster, tmp_path):
    settings = {"output.root": str(tmp_path), "synthetic.num_users": 30, "synthetic.num_items": 80}
    return prepare(with_values(Config(), settings), progress=lambda line: None)


def test_a_dataset_is_the_same_when_it_is_opened_again(dataset):
    again = open_dataset(dataset.uri)
    assert again.manifest == dataset.manifest
    assert again.schema == dataset.schema
    assert (again.name, len(again.fingerprint)) == ("synthetic", 64)


def test_the_catalogue_has_a_row_for_every_user_and_item(dataset):
    catalogue = dataset.catalogue()
    users, items = dataset.schema.user_fields, dataset.schema.item_fields
    for features, fields, count in ((catalogue.user_features, users, 30), (catalogue.item_features, items, 80)):
        for field in fields:
            assert features[field.name].shape == (count, field.width)
            assert features[field.name].max() < field.cardinality
    assert catalogue.item_bias.dtype == catalogue.offset.dtype == torch.float32
    assert len(dataset.item_ids()) == len(dataset.item_titles()) == catalogue.num_items == 80
    assert len(dataset.user_ids()) == 30


def test_the_biases_of_the_catalogue_are_those_of_the_training_side(dataset):
    biases = fit_biases(dataset.histories("train"), num_items=80)
    torch.testing.assert_close(dataset.catalogue().item_bias, torch.from_numpy(biases.item_bias).float())


def test_an_item_without_a_training_rating_has_no_id_of_its_own_and_no_bias(dataset):
    catalogue = dataset.catalogue()
    rated = set(dataset.histories("train").item.tolist())
    for item in range(80):
        known = item in rated
        assert bool(catalogue.item_features["id"][item, 0] > 0) == known
        assert known or catalogue.item_bias[item, 0] == 0


def flip_a_bit(content):
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("damage", [flip_a_bit, lambda content: content[:-1], lambda content: content[:100]])
def test_a_damaged_task_file_is_refused_by_name(dataset, damage):
    (part,) = dataset.parts("test")
    storage.write_bytes(part.uri, damage(storage.read_bytes(part.uri)))
    with pytest.raises(StorageError, match=r"test/part-00000\.parquet is damaged"):
        read_part(part)


@pytest.mark.parametrize("name", ["items.parquet", "users.parquet"])
def test_a_damaged_or_missing_table_is_refused_by_name(dataset, name):
    storage.write_bytes(storage.join(dataset.uri, name), b"short")
    with pytest.raises(StorageError, match=f"{name} is damaged"):
        dataset.catalogue()
    storage.delete(storage.join(dataset.uri, name))
    with pytest.raises(StorageError, match=name):
        dataset.catalogue()


def test_another_format_version_is_refused_with_both_numbers(dataset):
    manifest = json.dumps({**dataset.manifest, "format_version": 99})
    storage.write_bytes(storage.join(dataset.uri, storage.MANIFEST), manifest.encode())
    with pytest.raises(StorageError, match="format_version 99, this metarec reads 1"):
        open_dataset(dataset.uri)


def test_a_missing_dataset_is_refused(tmp_path):
    with pytest.raises(StorageError, match="nowhere"):
        open_dataset(str(tmp_path / "nowhere"))
