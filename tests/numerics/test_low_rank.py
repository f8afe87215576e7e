"""The kernels for stacks of linear layers against the inner loop lifted by vmap: the same numbers, to rounding."""

import pytest
import torch

from metarec.algorithms import stacked
from metarec.algorithms.kernel import load_kernel
from metarec.task import Rows, TaskBatch
from tests.worlds import gradients, make_batch, make_catalogue, make_learner, make_schema

SUPPORTS = (5, 0, 2, 8)
CATALOGUE = make_catalogue()
STEPS = pytest.mark.parametrize("steps", [1, 3])


@pytest.fixture(autouse=True, params=["in C", "in groups"])
def way(request, monkeypatch):
    """Both ways in which losses are formed."""
    if request.param == "in groups":
        monkeypatch.setattr(stacked, "load_kernel", lambda dtype: None)
    elif load_kernel(torch.float64) is None:
        pytest.skip("there is no C compiler")


def item_tasks():
    """Tasks of one item each, rated by different users."""

    def turn(rows, seed):
        generator = torch.Generator().manual_seed(seed)
        users = torch.randint(0, 9, rows.user.shape, generator=generator)
        items = torch.arange(len(rows.mask))[:, None].expand_as(rows.item)
        return rows._replace(user=torch.where(rows.mask, users, 0), item=torch.where(rows.mask, items, 0))

    batch = make_batch(*SUPPORTS)
    return TaskBatch(turn(batch.support, 1), turn(batch.query, 2), batch.task_seed)


def mixed_tasks():
    """Tasks in which neither the user nor the item is the same in all rows."""
    batch, items = make_batch(*SUPPORTS), item_tasks()
    return items._replace(
        support=items.support._replace(item=batch.support.item), query=items.query._replace(item=batch.query.item)
    )


def shuffle_padding(batch):
    """The same tasks with two padded rows before the real ones, which bear what must not matter."""

    def shift(rows):
        fillers = (8, 11, 3, float("nan"), False, False)
        leaves = []
        for leaf, value in zip(rows, fillers, strict=True):
            filler = torch.full((leaf.shape[0], 2, *leaf.shape[2:]), value, dtype=leaf.dtype)
            leaves.append(torch.cat([filler, leaf], dim=1))
        return Rows(*leaves)

    return TaskBatch(shift(batch.support), shift(batch.query), batch.task_seed)


def assert_same(overrides, batch=None, *, num_heads=1, progress=1.0, tolerance=1e-10):
    """Losses and the gradient of every outer parameter, with the kernel and without."""
    learner = make_learner(*overrides, schema=make_schema(num_heads))
    catalogue = make_catalogue(num_heads)
    batch = (
        make_batch(*SUPPORTS, num_heads=num_heads, observed=0.6 if num_heads > 1 else 1.0) if batch is None else batch
    )
    assert learner.algorithm.batch_loss(learner.model, catalogue, batch, progress) is not None
    found, losses = gradients(learner, catalogue, batch), learner(catalogue, batch, progress).losses
    learner.model.stack = lambda: None
    torch.testing.assert_close(losses, learner(catalogue, batch, progress).losses, rtol=tolerance, atol=tolerance)
    for name, expected in gradients(learner, catalogue, batch).items():
        torch.testing.assert_close(
            found[name], expected, rtol=tolerance, atol=tolerance, msg=lambda text, n=name: f"{n}: {text}"
        )


@STEPS
@pytest.mark.parametrize("hidden", ["[]", "[3]", "[4,3]"])
@pytest.mark.parametrize("direct", ["true", "false"])
@pytest.mark.parametrize("first_order", ["true", "false"])
def test_it_is_the_inner_loop_for_every_shape_of_the_stack(steps, hidden, direct, first_order):
    shape = (f"model.hidden={hidden}", f"model.direct={direct}")
    assert_same((f"inner.steps={steps}", *shape, f"algorithm.first_order={first_order}"))


@STEPS
def test_it_is_the_inner_loop_where_the_query_is_longer_than_all_layers_are_wide(steps):
    assert_same((f"inner.steps={steps}",), make_batch(5, 0, 2, 4, num_query=7))


@STEPS
@pytest.mark.parametrize(
    "overrides",
    [
        ("inner.damping=0",),
        ("inner.damping=40",),
        ("model.residual=none",),
        ("outer.loss=absolute",),
        ("inner.learned=false",),
        ("model.name=mlp",),
        ("model.name=linear",),
    ],
)
def test_it_is_the_inner_loop_for_every_setting(steps, overrides):
    assert_same((f"inner.steps={steps}", *overrides))


@STEPS
@pytest.mark.parametrize("pattern", ["head.*", "network.*", "*.bias", "head.parts.1.* network.layers.0.bias"])
@pytest.mark.parametrize("first_order", ["true", "false"])
def test_it_is_the_inner_loop_whatever_a_task_adapts(steps, pattern, first_order):
    adapt = (f"algorithm.adapt={pattern}", f"algorithm.first_order={first_order}")
    assert_same((f"inner.steps={steps}", "model.hidden=[4,3]", *adapt))


@STEPS
@pytest.mark.parametrize("outer", ["squared", "absolute", "squared absolute"])
def test_it_is_the_inner_loop_for_two_heads_of_which_some_targets_are_unknown(steps, outer):
    assert_same((f"inner.steps={steps}", f"outer.loss={outer}", "model.head_weights=[1.0,0.3]"), num_heads=2)


@STEPS
@pytest.mark.parametrize("tasks", [item_tasks, mixed_tasks])
@pytest.mark.parametrize("first_order", ["true", "false"])
def test_it_is_the_inner_loop_whoever_the_rows_belong_to(steps, tasks, first_order):
    assert_same((f"inner.steps={steps}", f"algorithm.first_order={first_order}"), tasks())


@STEPS
def test_it_is_the_inner_loop_wherever_padding_stands(steps):
    assert_same((f"inner.steps={steps}",), shuffle_padding(make_batch(*SUPPORTS)))


@pytest.mark.parametrize("supports", [(0, 0), (3,), tuple(range(9))])
@STEPS
def test_it_is_the_inner_loop_for_empty_supports_and_for_single_tasks(supports, steps):
    assert_same((f"inner.steps={steps}",), make_batch(*supports))


@STEPS
def test_more_threads_than_tasks_and_fewer_say_the_same(steps):
    learner, batch, threads = make_learner(f"inner.steps={steps}"), make_batch(*SUPPORTS), torch.get_num_threads()
    try:
        found = []
        for number in (1, 3, 7):
            torch.set_num_threads(number)
            found.append(gradients(learner, CATALOGUE, batch))
    finally:
        torch.set_num_threads(threads)
    for others in found[1:]:
        torch.testing.assert_close(others, found[0], rtol=1e-12, atol=1e-12)


def test_layers_that_fill_more_than_a_block_of_memory_are_the_inner_loop():
    assert_same(("inner.steps=2", "inner.lr=0.0001", "model.hidden=[1100,1000]"), make_batch(3, 2), tolerance=1e-7)


@STEPS
def test_without_a_gradient_the_losses_are_the_same(steps):
    learner, batch = make_learner(f"inner.steps={steps}"), make_batch(*SUPPORTS)
    with torch.no_grad():
        output = learner(CATALOGUE, batch)
    torch.testing.assert_close(output.losses, learner(CATALOGUE, batch).losses, rtol=1e-14, atol=0)


def test_the_gradient_scales_with_what_is_made_of_the_sum_and_can_be_asked_for_twice():
    learner, batch = make_learner(), make_batch(*SUPPORTS)
    surrogate = learner(CATALOGUE, batch).surrogate
    name = "model.network.layers.0.weight"
    parameter = learner.get_parameter(name)
    (first,) = torch.autograd.grad(surrogate, parameter, retain_graph=True)
    (second,) = torch.autograd.grad(surrogate * -0.5, parameter)
    torch.testing.assert_close(second, -0.5 * first, rtol=1e-14, atol=0)


@STEPS
def test_a_bad_item_takes_out_the_tasks_that_rate_it_and_no_other(steps):
    """The padding of other tasks must not point to it either."""
    learner = make_learner("model.residual=none", f"inner.steps={steps}")
    batch = make_batch(1, 4, 2, num_query=1)
    bad = batch.support.item[1, 3]
    has_it = torch.stack([((rows.item == bad) & rows.mask).any(1) for rows in (batch.support, batch.query)]).any(0)
    assert has_it.any()
    assert not has_it.all()
    catalogue = make_catalogue()
    catalogue.item_features["year"][bad] = float("nan")
    output = learner(catalogue, batch)
    assert torch.equal(output.losses.isnan(), has_it)
    output.surrogate.backward()
    assert all(parameter.grad.isfinite().all() for parameter in learner.parameters())


@pytest.mark.parametrize(
    ("overrides", "progress"),
    [
        (("inner.loss=absolute",), 1.0),
        (("outer.loss=cross_entropy",), 1.0),
        (("inner.batch_size=2",), 1.0),
        (("algorithm.multi_step_share=0.5",), 0.2),
        (("algorithm.adapt=* encoder.items.*",), 1.0),
        (("model.context_width=2",), 1.0),
        (("model.name=xdeepfm",), 1.0),
        (("model.name=wide_deep",), 1.0),
        (("model.name=multi_task",), 1.0),
    ],
)
def test_what_it_does_not_know_goes_through_the_inner_loop(overrides, progress):
    learner, batch = make_learner(*overrides), make_batch(*SUPPORTS)
    assert learner.algorithm.batch_loss(learner.model, CATALOGUE, batch, progress) is None


def test_second_order_that_starts_later_in_the_run_is_that_of_the_inner_loop():
    assert_same(("algorithm.first_order_share=0.5",), progress=0.2)
