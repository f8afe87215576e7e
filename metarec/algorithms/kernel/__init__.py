"""The inner loop on a stack of linear layers in C, for CPUs: compiled in each process that uses it."""

from metarec.algorithms.kernel.library import Costs, Kernel, load_kernel

__all__ = ["Costs", "Kernel", "load_kernel"]
