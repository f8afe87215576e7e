"""What a node finds under the output root and what the job makes of it; the nodes themselves are in slow tests."""

import pytest

from metarec import storage
from metarec.errors import StorageError
from metarec.train.preflight import FROM_HERE, _judge, _visit


def test_a_node_that_sees_the_root_writes_something_of_its_own_there(tmp_path):
    storage.write_bytes(str(tmp_path / FROM_HERE), FROM_HERE.encode())
    assert _visit(str(tmp_path), "n1") == ""
    assert (tmp_path / "n1").read_bytes() == b"n1"
    _judge("", str(tmp_path / "n1"), "n1", "far", str(tmp_path))


def test_a_node_to_which_the_root_is_another_folder_is_refused_by_name(tmp_path):
    wrong = _visit(str(tmp_path / "elsewhere"), "n1")
    with pytest.raises(
        StorageError, match=r"node far does not see what is written to /root by this process; set output"
    ):
        _judge(wrong, str(tmp_path / "n1"), "n1", "far", "/root")


def test_a_node_that_reads_something_else_is_refused(tmp_path):
    storage.write_bytes(str(tmp_path / FROM_HERE), b"of an earlier job")
    assert _visit(str(tmp_path), "n1") == "reads something else than what is written"


def test_a_node_of_which_the_file_does_not_arrive_here_is_refused(tmp_path):
    with pytest.raises(StorageError, match="node far writes what is not seen to /root"):
        _judge("", str(tmp_path / "n1"), "n1", "far", "/root")


def test_a_node_that_cannot_write_says_why(tmp_path):
    """What the node's file should be is a folder there."""
    storage.write_bytes(str(tmp_path / FROM_HERE), FROM_HERE.encode())
    (tmp_path / "n1").mkdir()
    assert "cannot write" in _visit(str(tmp_path), "n1")
