"""Who may become champion: a version whose files are whole, that passed the gate beside today's champion."""

import argparse

import pytest

from jobs import promote as promote_job
from jobs.train import promotion_lines
from metarec.config import load_config
from metarec.errors import GateError, RegistryError, StorageError
from metarec.registry import champion, promote
from tests.registered import bundle_of, register
from tests.tiny_learner import tiny_learner

POOR = {"passed": False, "reasons": ["mae .80 is above the user median's .79"], "opponents": {}}


def passed(*opponents):
    return {"passed": True, "reasons": [], "opponents": {f"champion v{number}": {} for number in opponents}}


def of_other_data():
    learner = tiny_learner()
    learner.facts["fingerprint"] = "cd" * 32
    return learner


def run_job(home, name, *, force=False):
    config = load_config(overrides=[f'output.root="{home}"', f"registry.model='{name}'"])
    promote_job.run(config, argparse.Namespace(force=force))


def test_promoting_moves_the_champion_and_records_what_was_forced_alone(store, config):
    for verdict in (passed(), passed(1), POOR):
        register(store, config, "three", verdict=verdict)
    assert "forced" not in promote(store, "three", 1).tags
    assert "forced" not in promote(store, "three", 2, forced=True).tags
    assert champion(store, "three").number == 2
    assert promote(store, "three", 3, forced=True).tags["forced"] == "true"
    assert champion(store, "three").number == 3


def test_a_version_that_is_not_there_cannot_be_promoted(store, config):
    register(store, config, "one")
    with pytest.raises(RegistryError, match=r"there is no models:/one/9; one has versions 1 "):
        promote(store, "one", 9)


@pytest.mark.parametrize("forced", [False, True])
def test_a_damaged_version_is_not_promoted_by_force_either_and_the_file_is_named(store, config, forced):
    name = f"damaged-{forced}"
    weights = bundle_of(store, register(store, config, name)) / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(StorageError, match=rf"^model models:/{name}/1 cannot be used: {weights} is damaged: "):
        promote(store, name, 1, forced=forced)
    assert champion(store, name) is None


def test_a_version_that_was_not_compared_with_todays_champion_waits_for_force(store, config):
    """Two were trained at a time, each judged beside the first champion; the worse one would be promoted last."""
    for verdict in (passed(), passed(1), passed(1)):
        register(store, config, "race", verdict=verdict)
    promote(store, "race", 1)
    promote(store, "race", 2)
    with pytest.raises(GateError) as refused:
        promote(store, "race", 3)
    assert refused.value.message == (
        "not promoted: models:/race/3: models:/race/2, the champion, is none that it was compared with, which "
        "python -m jobs.evaluate --model models:/race/2 models:/race/3 does; python -m jobs.promote --force promotes "
        "it anyway"
    )
    assert champion(store, "race").number == 2
    promote(store, "race", 2)
    assert promote(store, "race", 3, forced=True).tags["forced"] == "true"


def test_a_training_says_that_the_champion_changed_while_it_was_judged(store, config):
    first, second, third = (register(store, config, "meanwhile", verdict=passed()) for _ in range(3))
    promote(store, "meanwhile", 1)
    lines, promoted = promotion_lines(store, second)
    assert not promoted
    assert lines[0] == "models:/meanwhile@candidate is version 2"
    assert lines[1].startswith("not promoted: models:/meanwhile/2: models:/meanwhile/1, the champion, is none that it")
    assert champion(store, "meanwhile").number == first.number
    store.client.delete_registered_model_alias("meanwhile", "champion")
    assert promotion_lines(store, third) == (["promoted: models:/meanwhile@champion is version 3"], True)


def test_a_training_names_each_reason_of_the_gate_once(store, config):
    verdict = {"passed": False, "reasons": ["mae is high", "rmse is high"], "opponents": {}}
    version = register(store, config, "reasons", verdict=verdict)
    assert promotion_lines(store, version) == (
        ["models:/reasons@candidate is version 1", "not promoted: mae is high", "not promoted: rmse is high"],
        False,
    )


def test_the_job_moves_the_champion_where_the_gate_passed(store, config, home, capsys):
    register(store, config, "gated")
    run_job(home, "gated")
    assert champion(store, "gated").number == 1
    assert capsys.readouterr().out == "promoted: models:/gated@champion is models:/gated/1\n"
    run_job(home, "gated")
    assert capsys.readouterr().out == "models:/gated/1 is the champion already\n"


def test_the_job_refuses_with_the_reasons_unless_forced(store, config, home, capsys):
    register(store, config, "poor", verdict=POOR)
    with pytest.raises(
        GateError, match=r"^not promoted: models:/poor/1: .*median's \.79; python -m jobs\.promote --fo"
    ):
        run_job(home, "poor")
    assert champion(store, "poor") is None
    run_job(home, "poor", force=True)
    assert champion(store, "poor").tags["forced"] == "true"
    assert capsys.readouterr().out == "promoted by force: models:/poor@champion is models:/poor/1\n"


OTHER = (
    "models:/{name}/1, the champion, was trained on another dataset (fingerprint abababababab, not cdcdcdcdcdcd), so "
    "that the two cannot be compared"
)


@pytest.mark.parametrize("by_the_gate", [False, True])
def test_the_job_refuses_beside_a_champion_of_another_dataset_named_once_unless_forced(
    store, config, home, capsys, by_the_gate
):
    name = f"moved-{by_the_gate}"
    other = OTHER.format(name=name)
    register(store, config, name)
    run_job(home, name)
    verdict = {"passed": False, "reasons": [other], "opponents": {}} if by_the_gate else passed()
    register(store, config, name, of_other_data(), verdict=verdict)
    with pytest.raises(GateError) as refused:
        run_job(home, name)
    assert refused.value.message == (
        f"not promoted: models:/{name}/2: {other}; python -m jobs.promote --force promotes it anyway"
    )
    assert champion(store, name).number == 1
    run_job(home, name, force=True)
    assert champion(store, name).tags["forced"] == "true"
    assert capsys.readouterr().out.splitlines()[-1] == f"promoted by force: models:/{name}@champion is models:/{name}/2"


def test_the_job_names_the_command_that_makes_a_candidate(store, home):
    with pytest.raises(RegistryError, match=r"no candidate of absent is registered in sqlite.*python -m jobs\.train"):
        run_job(home, "absent")
