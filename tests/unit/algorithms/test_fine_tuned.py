"""Fine-tuning is MAML's adaptation at a fixed rate, and its training is joint training."""

import math

import pytest
import torch

from tests.worlds import gradients, make_batch, make_catalogue, make_learner

CATALOGUE = make_catalogue()
SUPPORTS = (5, 0, 2, 8)


@pytest.mark.parametrize(
    "overrides",
    [(), ("inner.batch_size=2", "inner.steps=3"), ("algorithm.adapt=head.* encoder.items.*", "inner.loss=absolute")],
)
def test_it_adapts_as_maml_does_at_the_same_fixed_rate(overrides):
    tuned = make_learner("algorithm.name=fine_tuned", *overrides)
    maml = make_learner("inner.learned=false", *overrides)
    maml.algorithm.log_rate.fill_(math.log(0.3))
    batch = make_batch(*SUPPORTS)
    found, expected = (learner.adapt(CATALOGUE, batch.support, batch.task_seed).weights for learner in (tuned, maml))
    assert found.keys() == expected.keys()
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(tuned.predict(CATALOGUE, batch), maml.predict(CATALOGUE, batch), rtol=0, atol=1e-12)


def test_it_trains_as_joint_training_does():
    tuned, joint = (make_learner(f"algorithm.name={name}") for name in ("fine_tuned", "joint"))
    batch = make_batch(*SUPPORTS)
    found, expected = (gradients(learner, CATALOGUE, batch) for learner in (tuned, joint))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert torch.equal(tuned(CATALOGUE, batch).losses, joint(CATALOGUE, batch).losses)


def test_without_a_support_it_predicts_what_joint_training_does():
    tuned, joint = (make_learner(f"algorithm.name={name}", "run.seed=1") for name in ("fine_tuned", "joint"))
    batch = make_batch(0, 4)
    found, expected = (learner.predict(CATALOGUE, batch) for learner in (tuned, joint))
    assert torch.equal(found[0], expected[0])
    assert (found[1] != expected[1]).all()


def test_its_rate_is_never_learned():
    learner = make_learner("algorithm.name=fine_tuned", "inner.learned=true")
    assert all(name.startswith("model.") for name, _ in learner.named_parameters())
