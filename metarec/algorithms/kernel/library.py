"""How `tasks.c` gets compiled, loaded and called.

It is compiled for the very processor that it runs on, once a process and in about two seconds, so that nothing has to
be kept that another machine might find. Where there is no C compiler, `load_kernel` has none to give.
"""

import ctypes
import functools
import logging
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

_LOG = logging.getLogger(__name__)
_SOURCE = Path(__file__).with_name("tasks.c")
_TYPES = {torch.float32: "float", torch.float64: "double"}
_OPTIONS = ("-O3", "-march=native", "-shared", "-fPIC")
# fmt: off
_NUMBERS = (
    "num_threads", "num_tasks", "num_query", "num_heads", "num_features", "num_outputs", "num_later", "num_steps",
    "num_shared", "first_order", "wants_gradient",
)
_ARRAYS = (
    "widths", "cuts", "starts", "inputs", "outputs", "constant_outputs", "norm", "shared", "support_rest", "slope",
    "query_rest", "query_weight", "query_observed", "absolute", "losses", "by_inputs", "by_outputs",
    "by_constant_outputs", "by_norm", "by_shared", "operations", "bytes",
)
# fmt: on


class _Problem(ctypes.Structure):
    """`problem` of `tasks.c`."""

    _fields_ = (*((name, ctypes.c_int64) for name in _NUMBERS), *((name, ctypes.c_void_p) for name in _ARRAYS))


class Costs(NamedTuple):
    """What a call has cost.

    Attributes:
        operations: floating-point operations of matrix products.
        bytes: memory beside that of the arrays.
    """

    operations: int
    bytes: int


class Kernel:
    """`sum_task_losses` of `tasks.c` for numbers of one type.

    Args:
        library: compiled for that type.
        dtype: the type.
    """

    def __init__(self, library: ctypes.CDLL, dtype: torch.dtype) -> None:
        self._types = {dtype, torch.long, torch.bool}
        self._function = library.sum_task_losses
        self._function.argtypes, self._function.restype = [ctypes.POINTER(_Problem)], None

    def __call__(
        self, arrays: Mapping[str, Tensor], *, num_steps: int, first_order: bool, wants_gradient: bool
    ) -> Costs:
        """Do it; other Python threads run meanwhile.

        Args:
            arrays: all that `problem` has but what the call has cost, in memory without gaps.
            num_steps: gradient steps.
            first_order: take the gradients of the support loss as constants.
            wants_gradient: fill all `by_…`.
        """
        num_tasks, num_query, num_heads = arrays["query_rest"].shape
        numbers = {
            "num_threads": len(arrays["by_shared"]),
            "num_tasks": num_tasks,
            "num_query": num_query,
            "num_heads": num_heads,
            "num_features": arrays["inputs"].shape[1],
            "num_outputs": arrays["outputs"].shape[1],
            "num_later": len(arrays["widths"]) - 1,
            "num_steps": num_steps,
            "num_shared": len(arrays["shared"]),
            "first_order": first_order,
            "wants_gradient": wants_gradient,
        }
        costs = torch.zeros(2, numbers["num_threads"], dtype=torch.long)
        given = {**arrays, "operations": costs[0], "bytes": costs[1]}
        assert given.keys() == set(_ARRAYS)
        assert all(array.is_contiguous() and array.dtype in self._types for array in given.values())
        problem = _Problem(**numbers, **{name: array.data_ptr() for name, array in given.items()})
        self._function(ctypes.byref(problem))
        return Costs(*costs.sum(1).tolist())


@functools.cache
def load_kernel(dtype: torch.dtype) -> Kernel | None:
    """The kernel for tensors of a type on a CPU; None for other types, and where none can be compiled and loaded.

    The log says why. The compiler is that of the environment variable `CC`, else `cc`; an empty `CC` means none.
    """
    if dtype not in _TYPES:
        return None
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if not compiler or shutil.which(compiler[0]) is None:
        _LOG.info("there is no C compiler (%s): gradient steps go through PyTorch, slower", " ".join(compiler) or "CC=")
        return None
    with tempfile.TemporaryDirectory() as folder:
        library, message = os.path.join(folder, "kernel.so"), ""
        for threads in (["-fopenmp"], []):
            command = [*compiler, *_OPTIONS, *threads, f"-DREAL={_TYPES[dtype]}", "-o", library, str(_SOURCE)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                try:
                    return Kernel(ctypes.CDLL(library), dtype)
                except OSError as error:  # a temporary folder that nothing may be run from, say
                    message = str(error)
                    break
            message = message or done.stderr.strip().partition("\n")[0]
    _LOG.warning("%s makes no kernel of %s: gradient steps go through PyTorch, slower: %s", compiler, _SOURCE, message)
    return None
