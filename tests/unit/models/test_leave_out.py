"""Fields that a model does not see."""

import pytest

from metarec.build import check_combination
from metarec.config import load_config
from metarec.errors import ConfigError
from tests.worlds import make_batch, make_catalogue, make_learner

CATALOGUE = make_catalogue()


def without_ids(catalogue):
    return catalogue._replace(item_features=catalogue.item_features | {"id": catalogue.item_features["id"] * 0})


def test_a_field_that_is_left_out_changes_nothing():
    batch = make_batch(4)
    for leave_out, same in (("", False), ("item.id", True), ("item.*", True), ("user.*", False)):
        learner = make_learner(f"model.leave_out={leave_out!r}")
        changed = learner.predict(without_ids(CATALOGUE), batch)
        assert learner.predict(CATALOGUE, batch).equal(changed) == same, leave_out


def test_new_items_are_scored_by_content_where_the_residual_is_on_the_user_alone():
    """Item bias and id are all that tells a rated item from a new one of the same content."""
    learner, batch = make_learner("model.leave_out='item.id'", "model.residual=user"), make_batch(4)
    new = without_ids(CATALOGUE)._replace(item_bias=CATALOGUE.item_bias * 0)
    assert learner.predict(CATALOGUE, batch).equal(learner.predict(new, batch))


def test_a_pattern_that_does_not_say_whose_field_it_means_is_refused():
    with pytest.raises(ConfigError, match=r"^model.leave_out is 'id'; say whose field it is, as in item.id"):
        load_config(None, ["model.leave_out='id'"])


def test_leaving_out_all_that_the_check_before_the_data_knows_is_no_mistake():
    """torch warns of layers without an input, and warnings are errors here."""
    check_combination(load_config(None, ["model.leave_out='user.* item.id'"]))
