"""The trials of a search, on storage: what each was given, and how it ended. This decides what still has to be done.

Tune's own snapshot is written now and then, and trials that finished after the last one would run again. Here each
trial has a file from the moment it is suggested and another from the moment it ends, in the folder of the search.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from metarec import storage
from metarec.config import Config, with_values
from metarec.errors import StorageError
from metarec.evaluate.metric import metric_named
from metarec.train.journal import JournalLine
from metarec.train.run import RunFolder, run_folder

METRIC = "validation.metric"

Ending = Literal["finished", "stopped early", "failed"]
STATUS: dict[Ending, str] = {"finished": "finished", "stopped early": "killed", "failed": "failed"}
"""How a trial ended, as the folder of its run says it."""


@dataclass(frozen=True)
class Result:
    """How a trial ended.

    Attributes:
        ending: `stopped early` is ASHA's doing.
        metric: the best of the validation metrics of its epochs; None where none was measured.
        num_epochs: how many it trained.
        train_seconds: how long they took.
        reason: of a failure; else empty.
    """

    ending: Ending
    metric: float | None
    num_epochs: int
    train_seconds: float
    reason: str = ""


@dataclass(frozen=True)
class Takeover:
    """A trial of a population going on from the weights of a better one, with changed settings.

    Attributes:
        source: the number of the better trial.
        step: of the checkpoint that was taken.
        values: setting → value, from then on.
    """

    source: int
    step: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        number: from 0.
        values: setting → value.
        result: None while it has not ended.
        takeovers: in a population: whose weights it went on from, in order.
    """

    number: int
    values: Mapping[str, Any]
    result: Result | None
    takeovers: tuple["Takeover", ...] = ()


@dataclass(frozen=True)
class Trials:
    """The trials in a folder.

    Attributes:
        uri: the folder.
    """

    uri: str

    def all(self) -> list[Trial]:
        """Every trial that was suggested, by number."""
        names = storage.list_names(self.uri)
        numbers = [int(name[:-5]) for name in names if name.endswith(".json") and name[:-5].isdigit()]
        return [self.read(number) for number in numbers]

    def suggest(self, number: int, values: Mapping[str, Any], trial_id: str) -> None:
        """Keep what a trial is given, and what Tune calls it this time."""
        known = self._json(self._begun(number)) if self.has_begun(number) else {}
        self._write(self._begun(number), known | {"values": dict(values), "trial_id": trial_id})

    def take_over(self, number: int, takeover: Takeover) -> None:
        """Keep that a trial went on from another's weights; its values are what the population changed them to."""
        known = self._json(self._begun(number))
        takeovers = [*known.get("takeovers", []), asdict(takeover)]
        self._write(self._begun(number), known | {"values": dict(takeover.values), "takeovers": takeovers})

    def number_of(self, trial_id: str) -> int:
        """The number of the trial that Tune calls so; its config does not tell, for populations copy configs."""
        (number,) = (
            trial.number for trial in self.all() if self._json(self._begun(trial.number))["trial_id"] == trial_id
        )
        return number

    def end(self, number: int, result: Result) -> None:
        """Keep how a trial ended."""
        self._write(self._ended(number), asdict(result))

    def has_begun(self, number: int) -> bool:
        """Whether a trial was suggested."""
        return storage.exists(storage.join(self.uri, self._begun(number)))

    def has_ended(self, number: int) -> bool:
        """Whether a trial has a result."""
        return storage.exists(storage.join(self.uri, self._ended(number)))

    def read(self, number: int) -> Trial:
        """A trial that was suggested."""
        document = self._json(self._begun(number))
        result = Result(**self._json(self._ended(number))) if self.has_ended(number) else None
        takeovers = tuple(Takeover(**each) for each in document.get("takeovers", []))
        return Trial(number, document["values"], result, takeovers)

    def _begun(self, number: int) -> str:
        return f"{number:03d}.json"

    def _ended(self, number: int) -> str:
        return f"{number:03d}.result.json"

    def _write(self, name: str, document: Mapping[str, Any]) -> None:
        storage.write_bytes(storage.join(self.uri, name), json.dumps(document, indent=1).encode())

    def _json(self, name: str) -> dict[str, Any]:
        place = storage.join(self.uri, name)
        try:
            return dict(json.loads(storage.read_bytes(place)))
        except ValueError as error:
            raise StorageError(f"{place} is damaged: {error}; choose another run.name") from error


def trial_config(config: Config, number: int, values: Mapping[str, Any]) -> Config:
    """The config of a trial of a search: a run of its own, `<name of the search>.<number>`."""
    return with_values(config, {**values, "run.name": f"{config.run.name}.{number:03d}", "run.seeds": ()})


def trial_folder(config: Config, number: int) -> RunFolder:
    """The run folder of a trial of a search."""
    return run_folder(trial_config(config, number, {}))


def record_of(folder: RunFolder) -> tuple[RunFolder, Trial] | None:
    """The search that a run is a trial of, by its folder, and the record of the trial; None for a run of its own."""
    place, options = storage.split_options(folder.uri)
    search, _, number = place.rpartition(".")
    if not search or not number.isdigit():
        return None
    owner = RunFolder(search + options)
    trials = Trials(storage.join(owner.uri, "trials"))
    return (owner, trials.read(int(number))) if trials.has_begun(int(number)) else None


def standing(lines: Sequence[JournalLine], primary: str, ending: Ending, reason: str = "") -> Result:
    """How a trial ended, with the figures of its journal; an epoch in two parts, with a stop between them, is one."""
    metric = metric_named(primary)
    measured = [line.metrics[METRIC] for line in lines if METRIC in line.metrics]
    best = max(measured, key=metric.improvement, default=None)
    parts = [line.metrics for line in lines if "train.seconds" in line.metrics]
    num_epochs = int(parts[-1]["train.epochs"]) if parts else 0
    return Result(ending, best, num_epochs, sum((part["train.seconds"] for part in parts), 0.0), reason)


def ranked(trials: Sequence[Trial], primary: str) -> list[Trial]:
    """The trials that may win, the best first: those with a metric that did not fail.

    One that was stopped early is as good as its best checkpoint, which is what a search hands on.
    """
    metric = metric_named(primary)
    able = [trial for trial in trials if trial.result and trial.result.ending != "failed"]
    measured = {trial.number: trial.result.metric for trial in able if trial.result}
    return sorted(
        (trial for trial in able if measured[trial.number] is not None),
        key=lambda trial: (-metric.improvement(measured[trial.number] or 0.0), trial.number),
    )
