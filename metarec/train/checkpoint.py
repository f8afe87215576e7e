"""Checkpoints: bundles of safetensors and JSON, one folder a step, that resume exactly and prove themselves whole."""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import safetensors.torch
import torch
from torch import nn

from metarec import storage
from metarec.errors import StorageError

KIND = "checkpoint"


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        step: steps taken; the next one has this number.
        validation: the validation metric at this step, NaN where it was not measured.
        num_tasks_seen: tasks trained on so far.
    """

    step: int
    validation: float
    num_tasks_seen: int


@dataclass(frozen=True)
class CheckpointFolder:
    """The checkpoints of one run: the newest `keep`, and the one with the best validation metric.

    Attributes:
        uri: the folder.
        keep: how many of the newest to keep, at least 1.
        lower_is_better: whether the validation metric is an error.
        run_id: the tracker's id of the run, which each checkpoint that is saved carries; empty = none.
    """

    uri: str
    keep: int
    lower_is_better: bool
    run_id: str = ""

    def save(self, learner: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        """Write a checkpoint and remove those that are neither new nor best.

        Raises:
            StorageError: it cannot be written; nothing of it is left, and the earlier ones still stand.
        """
        tensors, structure = _split(optimizer.state_dict())
        files = {
            "weights.safetensors": safetensors.torch.save(_contiguous(learner.state_dict())),
            "optimizer.safetensors": safetensors.torch.save(_contiguous(tensors)),
            "optimizer.json": json.dumps(structure).encode(),
        }
        validation = None if progress.validation != progress.validation else progress.validation
        facts = {
            "step": progress.step,
            "validation": validation,
            "num_tasks_seen": progress.num_tasks_seen,
            "tracking_run_id": self.run_id,
        }
        try:
            storage.write_bundle(self.uri_of(progress.step), KIND, files, **facts)
        except StorageError as error:
            with contextlib.suppress(StorageError):
                storage.delete(self.uri_of(progress.step))
            standing = max(self._manifests(), default=None)
            kept = "no earlier checkpoint" if standing is None else f"the checkpoint of step {standing}"
            raise StorageError(f"{error}; {kept} is kept, where the same command goes on") from error
        self._prune()

    def newest(self, warn: Callable[[str], None]) -> int | None:
        """The step of the newest checkpoint that is whole; those that are not are named to `warn`."""
        return self._first_whole(self.steps()[::-1], warn)

    def best(self, warn: Callable[[str], None]) -> int | None:
        """The step of the whole checkpoint with the best validation metric, the first of several equal ones.

        Where none was measured it is the newest. Better ones that are not whole are named to `warn`.
        """
        return self._first_whole(self._ranked(), warn)

    def load(self, step: int, learner: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> Progress:
        """Put a checkpoint's weights (and optimiser state) in place and say where it stands.

        Raises:
            StorageError: a byte of it is not as written, or its weights do not fit the learner.
        """
        manifest, files = storage.read_bundle(self.uri_of(step), KIND)
        try:
            learner.load_state_dict(safetensors.torch.load(files["weights.safetensors"]))
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise StorageError(
                f"{self.uri_of(step)} holds another model: {reason}; use the config it was made with"
            ) from error
        if optimizer is not None:
            tensors = safetensors.torch.load(files["optimizer.safetensors"])
            optimizer.load_state_dict(_join(tensors, json.loads(files["optimizer.json"])))
        validation = manifest["validation"]
        return Progress(
            manifest["step"], float("nan") if validation is None else validation, manifest["num_tasks_seen"]
        )

    def tracking_run_id(self) -> str | None:
        """The tracker's id of the run that the newest checkpoint carries; None where there is none."""
        manifests = self._manifests()
        return manifests[max(manifests)].get("tracking_run_id") or None if manifests else None

    def adopt(self, step: int, files: Mapping[str, bytes], num_tasks_seen: int) -> None:
        """Go on from the files of another run's checkpoint: it is the only one then, and without a metric of this run.

        Raises:
            StorageError: it cannot be written; the earlier ones still stand.
        """
        facts = {"step": step, "validation": None, "num_tasks_seen": num_tasks_seen, "tracking_run_id": self.run_id}
        storage.write_bundle(self.uri_of(step), KIND, files, **facts)
        for other in self.steps():
            if other != step:
                storage.delete(self.uri_of(other))

    def uri_of(self, step: int) -> str:
        """The folder of the checkpoint of a step."""
        return storage.join(self.uri, f"step-{step:010d}")

    def steps(self) -> list[int]:
        """The steps that have a checkpoint folder, whole or not, in order."""
        return sorted(int(name[5:]) for name in storage.list_names(self.uri) if name.startswith("step-"))

    def _manifests(self) -> dict[int, dict[str, Any]]:
        """The manifests by step, in order; a checkpoint without one that is whole counts as not there."""
        found = {}
        for step in self.steps():
            with contextlib.suppress(StorageError):
                found[step] = storage.read_bundle_manifest(self.uri_of(step), KIND)
        return found

    def _ranked(self) -> list[int]:
        """The steps by validation metric, the best first; after them, the newest first, those without one."""
        sign = 1 if self.lower_is_better else -1
        manifests = self._manifests()
        measured = {step: facts["validation"] for step, facts in manifests.items() if facts["validation"] is not None}
        others = [step for step in manifests if step not in measured]
        return sorted(measured, key=lambda step: (sign * measured[step], step)) + others[::-1]

    def _first_whole(self, steps: Sequence[int], warn: Callable[[str], None]) -> int | None:
        for step in steps:
            try:
                storage.read_bundle(self.uri_of(step), KIND)
            except StorageError as error:
                warn(f"skipped a checkpoint that is not whole: {error}")
            else:
                return step
        return None

    def _prune(self) -> None:
        complete = list(self._manifests())
        for step in set(complete) - set(complete[-self.keep :]) - set(self._ranked()[:1]):
            storage.delete(self.uri_of(step))


def _contiguous(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def _split(state: Mapping[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """An optimiser's state as named tensors and a JSON document."""
    tensors: dict[str, torch.Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    for index, entry in state["state"].items():
        for name, value in entry.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                scalars.setdefault(str(index), {})[name] = value
    return tensors, {"param_groups": state["param_groups"], "scalars": scalars}


def _join(tensors: Mapping[str, torch.Tensor], structure: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `_split`."""
    state: dict[int, dict[str, Any]] = {int(index): dict(entry) for index, entry in structure["scalars"].items()}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor
    return {"state": state, "param_groups": structure["param_groups"]}
