"""Items that join the catalogue of a trained model, beside what the model says of items that nobody rated."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pytest
import safetensors.torch
import torch

from metarec.build import build_learner
from metarec.config import Config, with_values
from metarec.data.dataset import Dataset
from metarec.data.item_statistics import item_statistics
from metarec.data.prepare import prepare
from metarec.data.reception import Reception, read_reception
from metarec.data.sources import open_source
from metarec.errors import RequestError
from metarec.serving.item_filters import allowed_items
from metarec.serving.learner import RECEPTION, STATISTICS, Learner
from metarec.serving.many_users import recommend_to_all
from metarec.serving.onboarding import choose_questions
from metarec.task import Catalogue
from tests.tiny_learner import tiny_learner

NUM_USERS, NUM_RATED = 40, 30
KINDS = {"tags": "multi_valued", "brand": "categorical", "year": "categorical", "price": "numeric", "look": "dense"}
UNRATED = {
    "i05x": {"tags": ["t1", "t2"], "brand": "b1", "year": "1994", "price": 3.5, "look": [0.5, -1.0]},
    "i07x": {"tags": ["t0", "t1", "t2", "t3", "new"], "brand": "b9", "year": "1870", "price": "12", "look": "1 2"},
    "i11x": {"tags": "never|t3", "year": "soon"},
    "i29x": {},
}
"""Of known values and unknown ones, of more than any rated item has, of a year that is none, and of nothing at all."""
TITLES = {"i05x": "Thing two (1994)", "i07x": "Thing THING", "i11x": "Four"}
COMMITTEE = {
    "algorithm.name": "alpaca",
    "model.members": 3,
    "model.member_names": ("melu", "linear", "linear"),
    "model.member_leave_out": ("item.content_vectors", "item.content_statistics", "item.content_statistics"),
    "model.member_residual": ("user", "user", "item"),
    "model.hidden": (8,),
    "model.embedding_width": 4,
}
PLAIN = {"model.hidden": (8,), "model.embedding_width": 4}


def silent(line):
    del line


def tables(folder, unrated):
    """Forty users with 15 of 30 items each; beside these the items table has some that nobody rated."""
    folder.mkdir(exist_ok=True)
    rows = [(u, f"i{(u + k) % NUM_RATED:02d}", 1 + (u * k) % 5, 1000 + k) for u in range(NUM_USERS) for k in range(15)]
    names = ("user_id", "item_id", "rating", "timestamp")
    csv.write_csv(pa.table(dict(zip(names, zip(*rows, strict=True), strict=True))), folder / "ratings.csv")
    items = {
        f"i{i:02d}": {
            "tags": [f"t{i % 4}", *([f"t{i % 3}"] if i % 3 != i % 4 else [])],
            "brand": f"b{i % 5}",
            "year": str(1990 + i % 7),
            "price": i * 0.5,
            "look": [i / 10, 1.0],
        }
        for i in range(NUM_RATED)
    }
    titles = {item: f"Thing {('one', 'two', 'three')[i % 3]} ({1990 + i % 7})" for i, item in enumerate(items)}
    items, titles = items | unrated, titles | TITLES
    columns = {name: [written(features.get(name)) for features in items.values()] for name in KINDS}
    named = {"item_id": list(items), "name": [titles.get(item, "") for item in items]}
    csv.write_csv(pa.table(named | columns), folder / "items.csv")
    return {
        "data.source": "tables",
        "data.path": str(folder),
        "output.root": str(folder / "out"),
        "tables.ratings": "ratings.csv",
        "tables.items": "items.csv",
        "tables.title": "name",
        "tables.item_features": KINDS,
    }


def written(value):
    """As a CSV file has it."""
    value = value.split() if isinstance(value, str) and " " in value else value
    return "|".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)


def learner_on(values):
    """An untrained model of a prepared dataset, with weights that are not where they start."""
    config = with_values(Config(), values)
    dataset: Dataset = prepare(config, progress=silent)
    module = build_learner(config, dataset.schema)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    rated = item_statistics([dataset.histories("train")], num_items=len(dataset.item_ids()))
    facts = {STATISTICS: {name: values.tolist() for name, values in rated._asdict().items()}}
    ids, titles = dataset.item_ids(), dataset.item_titles()
    return Learner(module, config, dataset.schema, dataset.catalogue(), ids, titles, facts, read_reception(dataset))


def without(learner, items):
    """The learner as if these items had never been there."""
    kept = [index for index, item in enumerate(learner.item_ids) if item not in items]
    catalogue: Catalogue = learner.catalogue._replace(
        item_features={name: tensor[kept] for name, tensor in learner.catalogue.item_features.items()},
        item_bias=learner.catalogue.item_bias[kept],
    )
    return Learner(
        learner.module,
        learner.config,
        learner.schema,
        catalogue,
        [learner.item_ids[index] for index in kept],
        [learner.item_titles[index] for index in kept],
        {STATISTICS: {name: np.array(all_)[kept].tolist() for name, all_ in learner.facts[STATISTICS].items()}},
        learner.reception and Reception(*(own[kept] for own in learner.reception)),
    )


def synthetic(folder):
    """Sixty users of whom most items meet nobody."""
    sizes = {"synthetic.num_users": 60, "synthetic.num_items": 150, "synthetic.mean_ratings": 14.0}
    return sizes | {"output.root": str(folder), "data.min_ratings": 11}


def raw_features(learner):
    """Of the items of the source: id → feature name → value."""
    table = open_source(learner.config).side("item")
    columns = {name: column.to_pylist() for name, column in table.features.items()}
    return {
        item: {name: column[index] for name, column in columns.items()}
        for index, item in enumerate(table.id.to_pylist())
    }


def predictions(learner, items, support):
    return learner.adapt(support).predict(items)


@pytest.fixture(scope="module")
def shop(ray_cluster, tmp_path_factory):
    """On the tables, with content fields, and the unrated items among the others from the start."""
    folder = tmp_path_factory.mktemp("shop")
    return learner_on(tables(folder, UNRATED) | COMMITTEE | {"data.content_statistics": True})


@pytest.fixture(scope="module")
def grown(shop):
    """The same with the unrated items added afterwards."""
    return without(shop, UNRATED).with_items(UNRATED, TITLES)


@pytest.mark.parametrize("support", [{}, {"i00": 5, "i13": 2}, {"i00": 1, "i05x": 5, "i11x": 2}])
def test_an_item_of_the_table_and_one_that_was_added_are_predicted_alike(shop, grown, support):
    assert set(UNRATED) <= set(shop.item_ids)
    assert sorted(grown.item_ids) == sorted(shop.item_ids)
    expected = predictions(shop, shop.item_ids, support)
    assert predictions(grown, shop.item_ids, support) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("item", UNRATED)
def test_an_item_gets_the_same_whoever_is_added_beside_it(shop, grown, item):
    alone = without(shop, UNRATED).with_items({item: UNRATED[item]}, {i: t for i, t in TITLES.items() if i == item})
    assert predictions(alone, [item], {"i00": 5}) == pytest.approx(predictions(grown, [item], {"i00": 5}), abs=1e-6)


def test_items_can_be_added_again_and_again(shop, grown):
    several = without(shop, UNRATED)
    for item, features in UNRATED.items():
        several = several.with_items({item: features}, {i: t for i, t in TITLES.items() if i == item})
    assert several.item_ids == grown.item_ids
    assert predictions(several, list(UNRATED), {"i00": 5}) == pytest.approx(
        predictions(grown, list(UNRATED), {"i00": 5}), abs=1e-6
    )


@pytest.mark.parametrize("with_content", [False, True])
def test_on_generated_ratings_every_item_without_one_is_predicted_as_when_it_is_added(
    ray_cluster, tmp_path, with_content
):
    settings = COMMITTEE if with_content else PLAIN
    whole = learner_on(synthetic(tmp_path) | settings | {"data.content_statistics": with_content})
    count = np.array(whole.facts[STATISTICS]["num_ratings"])
    unrated = [item for item, num in zip(whole.item_ids, count, strict=True) if num == 0]
    rated = [item for item, num in zip(whole.item_ids, count, strict=True) if num > 0]
    assert len(unrated) > 5
    titles = dict(zip(whole.item_ids, whole.item_titles, strict=True))
    features = raw_features(whole)
    later = without(whole, unrated).with_items(
        {item: features[item] for item in unrated}, {item: titles[item] for item in unrated}
    )
    support = {rated[0]: 5, unrated[0]: 1, rated[3]: 2}
    expected = predictions(whole, unrated, support)
    assert predictions(later, unrated, support) == pytest.approx(expected, abs=1e-6)
    assert len({round(score, 4) for score in expected}) > 3


def test_a_dataset_that_never_had_the_items_comes_to_the_same(ray_cluster, tmp_path):
    """Without content fields nothing at all depends on them, so that the two preparations have the same weights."""
    with_them = learner_on(tables(tmp_path / "with", UNRATED) | PLAIN)
    never = learner_on(tables(tmp_path / "never", {}) | PLAIN)
    assert not set(UNRATED) & set(never.item_ids)
    assert never.schema == with_them.schema
    later = never.with_items(UNRATED, TITLES)
    for support in ({}, {"i00": 5, "i05x": 2}):
        expected = predictions(with_them, with_them.item_ids, support)
        assert predictions(later, with_them.item_ids, support) == pytest.approx(expected, abs=1e-6)


def test_a_new_item_does_all_that_others_do(grown):
    user = grown.adapt({"i00": 5, "i05x": 2})
    assert "i05x" not in [each.item for each in user.recommend(k=NUM_RATED)]
    best = user.recommend(k=2, among=["i07x", "i29x"])
    assert {(each.item, each.title) for each in best} == {("i07x", "Thing THING"), ("i29x", "i29x")}
    assert {(each.item, each.title) for each in user.explain("i07x")} == {
        ("i00", grown.item_titles[0]), ("i05x", "Thing two (1994)"),
    }  # fmt: skip
    assert allowed_items(grown, deny=["i29x"]).unknown == ()
    (served,) = recommend_to_all(grown, [{"i00": 5, "i05x": 2}], k=3)
    assert [each.item for each in served.best] == [each.item for each in user.recommend(k=3)]
    followed = grown.adapt({"i00": 5}).follow({"i05x": 2})
    assert "i05x" not in [each.item for each in followed.recommend(k=NUM_RATED)]


def test_the_learner_that_items_are_added_to_stays_as_it_is(shop):
    before = without(shop, UNRATED)
    expected = predictions(before, before.item_ids, {"i00": 5})
    before.with_items(UNRATED, TITLES)
    assert not before.knows("i05x")
    assert predictions(before, before.item_ids, {"i00": 5}) == expected
    assert len(before.facts[STATISTICS]["mean"]) == NUM_RATED


def test_a_grown_learner_travels(grown):
    again = Learner.from_files(grown.to_files())
    support = {"i00": 5, "i05x": 2}
    assert predictions(again, again.item_ids, support) == predictions(grown, grown.item_ids, support)
    more = {"later": {"tags": "t1"}}
    assert predictions(again.with_items(more), ["later"], support) == pytest.approx(
        predictions(grown.with_items(more), ["later"], support), abs=1e-6
    )


def test_nobody_is_asked_about_a_new_item(shop, grown):
    before = choose_questions(without(shop, UNRATED), NUM_RATED, by="variance")
    assert choose_questions(grown, NUM_RATED, by="variance") == before
    assert {len(values) for values in grown.facts[STATISTICS].values()} == {NUM_RATED + len(UNRATED)}


def test_a_model_without_content_fields_has_no_file_for_them(grown):
    assert RECEPTION in grown.to_files()
    assert RECEPTION not in tiny_learner().to_files()


@pytest.mark.parametrize("of", ["no file", "another version"])
def test_a_model_that_lacks_what_content_fields_follow_from_says_so(grown, of):
    files = grown.to_files()
    kept = safetensors.torch.load(files.pop(RECEPTION))
    if of == "another version":
        del kept["unit_bias"]
        files[RECEPTION] = safetensors.torch.save(kept)
    older = Learner.from_files(files)
    assert predictions(older, ["i05x"], {}) == predictions(grown, ["i05x"], {})
    with pytest.raises(RequestError, match=r"this model takes no new items, .*; train and register it again"):
        older.with_items({"later": {}})


@pytest.mark.parametrize(
    ("items", "titles", "message"),
    [
        ({"i00": {}}, {}, "item 'i00' is known to this model already; leave it out"),
        ({"a": {}}, {"b": "B"}, "there is a title of item 'b', which is none of the new items"),
        (
            {"a": {"colour": "red"}},
            {},
            "item feature 'colour' of 'a' is unknown; this model knows tags, brand, year, price, look",
        ),
        ({"a": {"id": "7"}}, {}, "item feature 'id' of 'a' is unknown"),
        ({"a": {"content_vectors": [1.0]}}, {}, "item feature 'content_vectors' of 'a' is unknown"),
        ({"a": {}, "b": {"price": "dear"}}, {}, "item feature 'price' of 'b' is 'dear'; it takes a finite number"),
        ({"a": {"look": [1.0]}}, {}, "item feature 'look' of 'a' has 1 numbers; it takes 2"),
        ({"a": {"tags": 7}}, {}, "item feature 'tags' of 'a' is 7; it takes a list"),
    ],
)
def test_what_cannot_be_added_is_refused_with_the_reason(grown, items, titles, message):
    with pytest.raises(RequestError, match=message):
        grown.with_items(items, titles)


def test_an_item_of_which_nothing_is_known_has_neither_id_nor_bias():
    """As item 19 of the tiny learner."""
    learner = tiny_learner().with_items({"23": {}})
    first, second = learner.adapt({"7": 5}).predict(["19", "23"])
    assert first == second


def test_in_item_tasks_it_is_users_who_are_added():
    learner = tiny_learner("protocol.name=item_tasks")
    grown = learner.with_items({"23": {}})
    assert "23" in [each.item for each in grown.adapt({"7": 5}).recommend(k=5)]
    with pytest.raises(RequestError, match="user '7' is known to this model already"):
        learner.with_items({"7": {}})
    with pytest.raises(RequestError, match="user feature 'age' of '23' is unknown; this model knows none"):
        learner.with_items({"23": {"age": "25"}})
    with pytest.raises(RequestError, match="item feature 'height' is 'tall'; it takes a finite number"):
        learner.adapt({"7": 5}, user={"height": "tall"})


def test_whole_numbers_and_missing_values_are_read_as_tables_have_them():
    """Such as a table that was read with pandas has them."""
    learner = tiny_learner()
    plain = learner.adapt({"7": 5}, user={"age": "25"}).predict(["11"])
    assert learner.adapt({"7": 5}, user={"age": np.float64(25.0), "height": float("nan")}).predict(["11"]) == plain
    assert learner.adapt({"7": 5}, user={"age": 25, "survey": None}).predict(["11"]) == plain


def test_facts_stay_json(grown):
    assert json.loads(json.dumps(grown.facts)) == grown.facts
