"""What is true of every recommender; a new one enters by its line in `metarec.build.MODELS`."""

import pytest
import torch

from metarec.build import MODELS
from metarec.contracts import Recommender, query_context, support_context
from metarec.data.tasks import truncate_support
from metarec.task import Rows
from tests.worlds import examples, gradients, make_batch, make_catalogue, make_learner, make_schema, unbatched

CATALOGUE = make_catalogue()
DAMPING = 2.0
STEP = 1e-6
EACH = pytest.mark.parametrize("name", MODELS)


def make(name, *overrides, **arguments):
    return make_learner(f"model.name={name}", *overrides, **arguments)


def left_over(rows, task):
    """Targets less offset and item bias of one task's real rows, as plain numbers."""
    mask = rows.mask[task]
    return (rows.target[task][mask, 0] - 3.5 - CATALOGUE.item_bias[rows.item[task][mask], 0]).tolist()


def all_items():
    """A row for each item of the catalogue."""
    item = torch.arange(CATALOGUE.num_items)
    target = torch.zeros(len(item), 1, dtype=torch.float64)
    return Rows(item * 0, item, item, target, target > 0, item >= 0)


def score(learner, batch, task=0, catalogue=CATALOGUE, weights=None):
    """The model's scores of one task's query and of its support, with its own weights or others."""
    support = examples(learner, catalogue, unbatched(batch.support, task))
    query = learner.model.encode(catalogue, unbatched(batch.query, task))
    num_rows = batch.query.mask.shape[1]
    return (
        learner.model.score(weights or {}, query, query_context(support, num_rows)),
        learner.model.score(weights or {}, support.encoded, support_context(support)),
    )


@EACH
def test_it_keeps_the_contract_of_a_recommender(name):
    assert isinstance(make(name).model, Recommender)


@EACH
@pytest.mark.parametrize("size", [0, 1, 7])
def test_untrained_it_is_the_item_and_user_bias_floor_at_every_support_size(name, size):
    """Offset + item bias + the sum of what the support leaves over, divided by 2 + its number of ratings."""
    batch = truncate_support(make_batch(7, 4), size)
    for task in range(2):
        query, _ = score(make(name, perturbed=False), batch, task)
        rest = left_over(batch.support, task)
        expected = 3.5 + CATALOGUE.item_bias[batch.query.item[task], 0] + sum(rest) / (DAMPING + len(rest))
        torch.testing.assert_close(query[:, 0], expected, rtol=0, atol=1e-14)


@EACH
def test_untrained_a_support_row_is_the_floor_made_of_the_other_rows(name):
    batch = make_batch(4)
    _, support = score(make(name, perturbed=False), batch)
    rest = left_over(batch.support, 0)
    for row, item in enumerate(batch.support.item[0].tolist()):
        expected = 3.5 + CATALOGUE.item_bias[item, 0].item() + (sum(rest) - rest[row]) / (DAMPING + 3)
        assert support[row].item() == pytest.approx(expected, abs=1e-14)


@EACH
def test_untrained_a_user_of_whom_nothing_is_known_gets_the_floor_of_its_ratings(name):
    """Index 0 of every categorical field, a mean age: an untrained model scores from ratings and items alone."""
    unknown = CATALOGUE._replace(user_features={field: values * 0 for field, values in CATALOGUE.user_features.items()})
    learner, batch = make(name, perturbed=False), make_batch(3)
    vectors = learner.model.encoder.users(unknown.user_features, batch.query.user)
    assert not vectors.any()
    torch.testing.assert_close(score(learner, batch, catalogue=unknown)[0], score(learner, batch)[0], rtol=0, atol=0)


@EACH
def test_without_residual_the_score_starts_from_nothing(name):
    learner, batch = make(name, "model.residual=none"), make_batch(4)
    support = examples(learner, CATALOGUE, unbatched(batch.support))
    assert not learner.model.base(support.encoded, support_context(support)).any()
    lifted = CATALOGUE._replace(offset=CATALOGUE.offset + 1, item_bias=CATALOGUE.item_bias + 1)
    torch.testing.assert_close(score(learner, batch, catalogue=lifted)[0], score(learner, batch)[0], rtol=0, atol=0)


@EACH
def test_the_embedding_is_as_wide_as_it_says(name):
    learner, batch = make(name), make_batch(4)
    support = examples(learner, CATALOGUE, unbatched(batch.support))
    embedding = learner.model.embed({}, support.encoded, support_context(support))
    assert embedding.shape == (4, learner.model.embedding_width)


@EACH
@pytest.mark.parametrize("residual", ["bias", "none"])
def test_a_support_rows_own_rating_does_not_change_its_score_nor_its_embedding(name, residual):
    learner, batch = make(name, f"model.residual={residual}"), make_batch(5)

    def seen(target):
        support = examples(learner, CATALOGUE, unbatched(batch.support._replace(target=target)))
        context = support_context(support)
        return torch.cat([part({}, support.encoded, context) for part in (learner.model.score, learner.model.embed)], 1)

    before = seen(batch.support.target)
    for row in range(5):
        target = batch.support.target.clone()
        target[0, row] += 2.0
        assert torch.equal(seen(target)[row], before[row])


@EACH
def test_the_ratings_of_the_support_reach_the_score(name):
    learner, batch = make(name), make_batch(5)
    lowered = batch._replace(support=batch.support._replace(target=batch.support.target - 1))
    assert (score(learner, lowered)[0] != score(learner, batch)[0]).all()


@EACH
@pytest.mark.parametrize("rating", [99.0, torch.nan])
def test_what_stands_in_padded_rows_changes_nothing(name, rating):
    """Task 1 has 2 support rows and 3 of padding, which point to another user and item and bear a rating."""
    learner, batch = make(name), make_batch(5, 2)
    padded = ~batch.support.mask
    garbage = batch.support._replace(
        user=torch.where(padded, 8, batch.support.user),
        item=torch.where(padded, 11, batch.support.item),
        position=torch.where(padded, 77, batch.support.position),
        target=torch.where(padded[..., None], rating, batch.support.target),
    )
    clean, dirty = score(learner, batch, 1), score(learner, batch._replace(support=garbage), 1)
    torch.testing.assert_close(dirty[0], clean[0], rtol=0, atol=0)
    torch.testing.assert_close(dirty[1][:2], clean[1][:2], rtol=0, atol=0)


@EACH
def test_a_support_of_padding_alone_is_an_empty_support(name):
    learner, batch = make(name), make_batch(0, 2)
    none = score(learner, truncate_support(batch, 0))[0]
    assert none.isfinite().all()
    torch.testing.assert_close(score(learner, batch)[0], none, rtol=0, atol=1e-14)


@EACH
def test_scored_rows_do_not_see_each_other(name):
    learner, batch = make(name), make_batch(4)
    first = batch._replace(query=Rows(*(leaf[:, 1:2] for leaf in batch.query)))
    torch.testing.assert_close(score(learner, first)[0], score(learner, batch)[0][1:2], rtol=1e-13, atol=1e-13)


@EACH
def test_the_place_of_a_scored_row_in_the_history_does_not_matter(name):
    """It has none when items are recommended."""
    learner, batch = make(name), make_batch(4)
    later = batch._replace(query=batch.query._replace(position=batch.query.position + 3))
    assert torch.equal(score(learner, later)[0], score(learner, batch)[0])


@EACH
def test_encoding_a_batch_is_encoding_its_tasks(name):
    learner, batch = make(name), make_batch(5, 2)
    together = learner.model.encode(CATALOGUE, batch.query)
    for task in range(2):
        alone = learner.model.encode(CATALOGUE, unbatched(batch.query, task))
        for batched, single in zip(together, alone, strict=True):
            torch.testing.assert_close(batched[task], single, rtol=0, atol=0)


@EACH
def test_every_kind_of_feature_reaches_the_score(name):
    learner, batch = make(name), make_batch(3)
    before = score(learner, batch)[0]
    for side in ("user_features", "item_features"):
        for field, values in getattr(CATALOGUE, side).items():
            other = (values + 1) % 3 if values.dtype == torch.int64 else values + 1
            changed = CATALOGUE._replace(**{side: {**getattr(CATALOGUE, side), field: other}})
            assert (score(learner, batch, catalogue=changed)[0] != before).any(), field


@EACH
def test_two_heads_are_two_predictions(name):
    catalogue, batch = make_catalogue(num_heads=2), make_batch(4, num_heads=2)
    learner = make(name, schema=make_schema(num_heads=2))
    first, second = score(learner, batch, catalogue=catalogue)[0].unbind(-1)
    assert (first != second).all()


@EACH
@pytest.mark.parametrize("sides", [("user_fields",), ("item_fields",)])
def test_a_side_may_have_no_fields(name, sides):
    schema = make_schema()
    bare = type(schema)(
        **{side: () if side in sides else getattr(schema, side) for side in ("user_fields", "item_fields")}
    )
    assert make(name, "model.residual=none", schema=bare).predict(CATALOGUE, make_batch(3)).isfinite().all()


@EACH
def test_given_weights_replace_the_models_own(name):
    """Each that a task may adapt, one at a time: as if the model had been trained to it."""
    learner, batch = make(name), make_batch(4)
    for adapted in learner.model.adaptable():
        parameter = learner.model.get_parameter(adapted)
        other = parameter.detach() * 1.5 + 0.25
        given = score(learner, batch, weights={adapted: other})[0]
        own = parameter.detach().clone()
        with torch.no_grad():
            parameter.copy_(other)
        trained = score(learner, batch)[0]
        with torch.no_grad():
            parameter.copy_(own)
        torch.testing.assert_close(given, trained, rtol=1e-13, atol=1e-13)
        assert (given != score(learner, batch)[0]).any(), adapted


@EACH
def test_everything_but_the_encoder_may_be_adapted_and_of_the_encoder_the_tables(name):
    model = make(name).model
    names = [parameter for parameter, _ in model.named_parameters()]
    assert model.adaptable() == [parameter for parameter in names if not parameter.startswith("encoder.")]
    assert model.tables() == [
        f"encoder.{table}.weight" for table in ("users.embeddings.0", "items.embeddings.0", "items.embeddings.1")
    ]


@EACH
def test_given_item_vectors_are_the_first_dimensions_of_the_known_items_embeddings(name):
    """Item 0 has no id of its own (index 0), which keeps its vector of zeros; what is added to it starts at zero."""
    learner = make(name, perturbed=False)
    index = CATALOGUE.item_features["id"].clone()
    index[0] = 0
    catalogue = CATALOGUE._replace(item_features={**CATALOGUE.item_features, "id": index})
    before = learner.model.encode(catalogue, all_items()).fields.flatten(-2)
    learner.model.load_item_vectors(catalogue, torch.arange(12, dtype=torch.float64)[:, None] + 1)
    after = learner.model.encode(catalogue, all_items()).fields.flatten(-2)
    (changed,) = ((after != before).any(0) & after.any(0)).nonzero(as_tuple=True)
    assert after[:, changed].flatten().tolist() == [0, *range(2, 13)]


@EACH
def test_the_gradient_of_a_gradient_is_right(name):
    learner, batch = make(name), make_batch(4)
    names = learner.model.adaptable()
    support = examples(learner, CATALOGUE, unbatched(batch.support))
    encoded = support.encoded._replace(fields=support.encoded.fields.detach())
    support = support._replace(encoded=encoded)

    def loss(*weights):
        weights = dict(zip(names, weights, strict=True))
        return (learner.model.score(weights, encoded, support_context(support)) - support.target).square().mean()

    weights = [learner.model.get_parameter(name).detach().requires_grad_() for name in names]
    assert torch.autograd.gradgradcheck(loss, weights, fast_mode=True)


@EACH
def test_the_second_order_meta_gradient_is_the_slope_of_the_query_loss(name):
    """Through `vmap`, where operations may have other derivatives than without: by each parameter, in one direction."""
    learner, batch = make(name), make_batch(5, 0, 2)
    found = gradients(learner, CATALOGUE, batch)
    generator = torch.Generator().manual_seed(0)
    for parameter_name, parameter in learner.named_parameters():
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            above = loss_at(learner, parameter, direction, STEP, batch)
            below = loss_at(learner, parameter, direction, -STEP, batch)
        expected = (above - below) / (2 * STEP)
        slope = (found[parameter_name] * direction).sum()
        torch.testing.assert_close(
            slope, expected, rtol=1e-5, atol=1e-6, msg=lambda text, of=parameter_name: f"{of}: {text}"
        )


def loss_at(learner, parameter, direction, size, batch):
    """The summed query loss with one parameter moved along a direction."""
    before = parameter.clone()
    parameter.add_(direction, alpha=size)
    surrogate = learner(CATALOGUE, batch).surrogate
    parameter.copy_(before)
    return surrogate
