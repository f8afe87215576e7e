"""The kernel in C: where it comes from, and what there is without a compiler."""

import logging

import pytest
import torch
from torch.utils._pytree import tree_map

from metarec.algorithms import stacked
from metarec.algorithms.kernel import library, load_kernel
from tests.worlds import gradients, make_batch, make_catalogue, make_learner

LOAD = load_kernel.__wrapped__
"""`load_kernel` with nothing loaded yet."""


def test_an_empty_cc_means_no_kernel_and_a_line_in_the_log(monkeypatch, caplog):
    monkeypatch.setenv("CC", "")
    with caplog.at_level(logging.INFO, library.__name__):
        assert LOAD(torch.float32) is None
    assert "there is no C compiler" in caplog.text


def test_a_compiler_that_is_not_there_is_named(monkeypatch, caplog):
    monkeypatch.setenv("CC", "no-such-cc -m64")
    with caplog.at_level(logging.INFO, library.__name__):
        assert LOAD(torch.float32) is None
    assert "no-such-cc" in caplog.text


def test_a_compiler_that_fails_is_a_warning_with_its_first_words(monkeypatch, caplog, tmp_path):
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho 'tasks.c: no such luck' >&2\necho more >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    with caplog.at_level(logging.INFO, library.__name__):
        assert LOAD(torch.float32) is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().endswith("tasks.c: no such luck")


def test_a_library_that_does_not_load_is_a_warning_and_no_error(monkeypatch, caplog, tmp_path):
    compiler = tmp_path / "cc"
    compiler.write_text('#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\necho no library > "$2"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    assert LOAD(torch.float32) is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "kernel.so" in record.getMessage()


def test_other_numbers_than_it_knows_are_not_compiled_for(caplog):
    with caplog.at_level(logging.INFO, library.__name__):
        assert LOAD(torch.bfloat16) is None
    assert not caplog.records


def test_in_float32_it_agrees_with_groups(monkeypatch):
    if load_kernel(torch.float32) is None:
        pytest.skip("there is no C compiler")
    learner = make_learner("inner.steps=3").float()
    catalogue, batch = tree_map(
        lambda leaf: leaf.float() if leaf.is_floating_point() else leaf, (make_catalogue(), make_batch(5, 0, 2, 8))
    )
    found = gradients(learner, catalogue, batch)
    monkeypatch.setattr(stacked, "load_kernel", lambda dtype: None)
    torch.testing.assert_close(found, gradients(learner, catalogue, batch), rtol=1e-4, atol=1e-4)
