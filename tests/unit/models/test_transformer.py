"""The Transformer over the support: attention by hand, what rows see, and that ratings and their order matter."""

import math

import pytest
import torch

from metarec.errors import ConfigError
from metarec.models.transformer import Attention, Transformer, recency_of, waves
from metarec.task import Rows
from tests.rows import make_inputs, make_support
from tests.worlds import make_batch, make_catalogue, make_learner

CATALOGUE = make_catalogue()
WIDTH = 4


def attention(query=0.0, num_heads=1):
    """Attention in two dimensions; keys and values are the tokens, and queries are `query` times the rows."""
    layer = Attention(2, num_heads).double()
    with torch.no_grad():
        for linear, factor in ((layer.query, query), (layer.key, 1.0), (layer.value, 1.0), (layer.out, 1.0)):
            linear.weight.copy_(torch.eye(2) * factor)
    return layer


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def make_network(num_blocks=1, width=WIDTH, direct=False):
    torch.manual_seed(0)
    sizes = {"block_width": 6, "num_blocks": num_blocks, "num_attention_heads": 2, "hidden": (5,)}
    return Transformer(width, direct=direct, num_heads=1, **sizes).double()


def embed(network, support_fields, rest, *, position=None, visible=None, observed=None):
    """The embedding of two rows beside a support."""
    rows = make_inputs([[[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [0.0, -1.0]]])
    support = make_support(make_inputs(support_fields, position), rest, 2, observed, visible)
    return network(rows, support)[0]


SUPPORT = [[[1.0, 2.0], [3.0, 1.0]], [[1.0, 2.0], [-2.0, 0.0]], [[1.0, 2.0], [0.5, 0.5]]]
REST = [1.0, -0.5, 0.25]


def test_attention_to_one_support_row_is_the_one_worked_out_by_hand():
    """Logit (1, 0)·(√2 ln 3, 5) / √2 = ln 3 beside the logit 0 of nothing: 3 / (3 + 1) of the token."""
    token = [math.sqrt(2) * math.log(3), 5.0]
    read = attention(query=1.0)(tensor([[1.0, 0.0]]), tensor([token]), torch.tensor([[True]]))
    torch.testing.assert_close(read, 0.75 * tensor([token]), rtol=0, atol=1e-14)


def test_attention_heads_look_by_themselves():
    """In one dimension each: logits ln 3 and 0, so that 3 / 4 and 1 / 2 of the token's dimensions are read."""
    token = [math.log(3), 8.0]
    read = attention(query=1.0, num_heads=2)(tensor([[1.0, 0.0]]), tensor([token]), torch.tensor([[True]]))
    torch.testing.assert_close(read, tensor([[0.75 * math.log(3), 4.0]]), rtol=0, atol=1e-14)


def test_equal_logits_share_with_the_place_that_holds_nothing():
    """Two visible rows of three: (2 + 4) / 3 and (0 + 6) / 3."""
    tokens, visible = tensor([[2.0, 0.0], [4.0, 6.0], [90.0, 90.0]]), torch.tensor([[True, True, False]])
    torch.testing.assert_close(
        attention()(tensor([[1.0, 1.0]]), tokens, visible), tensor([[2.0, 2.0]]), rtol=0, atol=1e-14
    )


@pytest.mark.parametrize("num_tokens", [0, 2])
def test_a_row_that_sees_nothing_reads_zeros(num_tokens):
    visible = torch.zeros(1, num_tokens, dtype=torch.bool)
    assert attention(query=1.0)(tensor([[1.0, 2.0]]), torch.ones(num_tokens, 2).double(), visible).tolist() == [[0, 0]]


def test_the_gradient_is_finite_where_nothing_is_seen():
    layer, tokens = attention(query=1.0), torch.ones(2, 2, dtype=torch.float64, requires_grad=True)
    rows = torch.ones(1, 2, dtype=torch.float64, requires_grad=True)
    read = layer(rows, tokens, torch.zeros(1, 2, dtype=torch.bool))
    for gradient in torch.autograd.grad(read.sum(), [rows, tokens, *layer.parameters()]):
        assert not gradient.any()


def test_recency_counts_the_real_rows_that_came_later():
    """Positions 4, 9, 2 and, padded, 11."""
    support = make_support(make_inputs([[[1.0]]] * 4, [4, 9, 2, 11]), [0.0] * 4, 1, visible=[[True, True, True, False]])
    assert recency_of(support).tolist() == [1, 0, 2, 0]


def test_waves_are_sines_and_cosines_of_falling_frequency():
    expected = [[0, 1, 0, 1], [math.sin(3), math.cos(3), math.sin(0.03), math.cos(0.03)]]
    torch.testing.assert_close(waves(torch.tensor([0, 3]), 4, torch.float64), tensor(expected), rtol=0, atol=1e-14)
    assert waves(torch.tensor([0, 3]), 3, torch.float64).shape == (2, 3)


def test_the_embedding_is_as_long_as_one():
    """Normalised to mean 0 and variance 1, and divided by √width."""
    embedding = embed(make_network(), SUPPORT, REST)
    torch.testing.assert_close(embedding.square().sum(-1), torch.ones(2).double(), rtol=1e-3, atol=0)
    torch.testing.assert_close(embedding.sum(-1), torch.zeros(2).double(), rtol=0, atol=1e-12)


def test_the_direct_path_is_the_vectors_themselves():
    rows = make_inputs([[[1.0, 2.0], [3.0, 4.0]]])
    parts = make_network(direct=True)(rows, make_support(make_inputs(SUPPORT), REST, 1))
    assert [part.shape[1] for part in parts] == [6, 4]
    assert parts[1].tolist() == [[1, 2, 3, 4]]


def test_embeddings_as_they_start_make_rows_of_variance_one():
    """Their standard deviation is 0.1; over 500 rows."""
    network = make_network(width=500)
    torch.manual_seed(1)
    rows = network.features(0.1 * torch.randn(500, 500).double())
    assert rows.var().item() == pytest.approx(1.0, abs=0.1)


def test_a_rating_changes_what_is_read():
    network = make_network()
    assert (embed(network, SUPPORT, REST) != embed(network, SUPPORT, [1.0, -0.5, 0.75])).any(-1).all()


def test_a_rating_of_zero_left_over_is_not_an_unknown_one():
    network, rest = make_network(), [1.0, -0.5, 0.0]
    unknown = embed(network, SUPPORT, rest, observed=[True, True, False])
    assert (embed(network, SUPPORT, rest) != unknown).any(-1).all()


def test_the_order_of_ratings_in_time_matters_and_how_far_apart_they_are_does_not():
    network = make_network()
    before = embed(network, SUPPORT, REST, position=[0, 1, 2])
    assert (embed(network, SUPPORT, REST, position=[2, 1, 0]) != before).any(-1).all()
    assert torch.equal(embed(network, SUPPORT, REST, position=[5, 20, 21]), before)


@pytest.mark.parametrize("num_blocks", [1, 3])
def test_a_row_sees_nothing_of_a_support_row_that_it_may_not_see(num_blocks):
    """Not even through the rows that it sees: row 0 does not see the last one, row 1 does."""
    network, visible = make_network(num_blocks), [[True, True, False], [True, True, True]]
    before = embed(network, SUPPORT, REST, visible=visible)
    after = embed(network, SUPPORT, [1.0, -0.5, 7.0], visible=visible)
    assert torch.equal(after[0], before[0])
    assert (after[1] != before[1]).any()


def test_the_order_of_ratings_reaches_the_predictions():
    """The two positions swapped, everything else in its place."""
    learner, batch = make_learner("model.name=transformer"), make_batch(3)
    position = batch.support.position
    swapped = batch._replace(support=Rows(**{**batch.support._asdict(), "position": position.flip(1)}))
    assert (learner.predict(CATALOGUE, swapped) != learner.predict(CATALOGUE, batch)).all()


@pytest.mark.parametrize(("embedding_width", "num_heads"), [(1, 3), (3, 1), (5, 3)])
def test_every_width_and_number_of_attention_heads_fit(embedding_width, num_heads):
    overrides = f"model.embedding_width={embedding_width}", f"model.num_attention_heads={num_heads}"
    learner = make_learner("model.name=transformer", *overrides)
    assert learner.model.network.widths == (embedding_width * num_heads, 6 * embedding_width)
    assert learner.predict(CATALOGUE, make_batch(3)).isfinite().all()


def test_blocks_too_narrow_to_normalise_are_refused():
    with pytest.raises(ConfigError) as caught:
        make_learner("model.name=transformer", "model.embedding_width=1")
    assert str(caught.value) == (
        "model.embedding_width is 1 and model.num_attention_heads is 2; the blocks of transformer are as wide as their "
        "product, which must be 3 or more"
    )
