"""Tune's searcher: hands out the trials that an earlier start left unfinished, then new ones, and keeps a record of it.

It runs where the search was started. A trial is on record before Tune knows of it.
"""

import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from metarec.config import Config
from metarec.errors import ConfigError, MetarecError
from metarec.search.proposals import Proposals
from metarec.search.reports import fault_in
from metarec.search.trials import Result, Trials, standing, trial_config, trial_folder
from metarec.train.journal import read_journal
from metarec.train.run import open_run

Check = Callable[[dict[str, Any]], Config]


class RecordedSearch(Searcher):
    """Suggests `{"values": {…}}` until all trials of a search are there.

    Args:
        config: of the search.
        trials: its records.
        proposals: where new settings come from.
        check: refuses settings that make no valid config; such a trial has failed, with the reason.
        num_trials: of the whole search.
        stop: once it is set, nothing more is suggested.

    Attributes:
        fault: the first error of a trial that was none of its settings'; nothing more is suggested then either.
    """

    def __init__(
        self,
        config: Config,
        trials: Trials,
        *,
        proposals: Proposals,
        check: Check,
        num_trials: int,
        stop: threading.Event,
    ) -> None:
        super().__init__()
        self.fault: MetarecError | None = None
        self._config = config
        self._trials = trials
        self._proposals = proposals
        self._check = check
        self._stop = stop
        known = trials.all()
        self._waiting = deque((trial.number, dict(trial.values)) for trial in known if trial.result is None)
        self._new = deque(range(len(known), num_trials))
        self._numbers: dict[str, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune writes its searcher beside the results, and the records are what a search goes on from."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Write a file without content, which Tune asks for."""
        Path(checkpoint_path).write_bytes(b"")

    @property
    def stopping(self) -> bool:
        """Whether trials are to save where they are, for a later start."""
        return self._stop.is_set() or self.fault is not None

    @property
    def num_due(self) -> int:
        """How many trials this start has to run."""
        return len(self._waiting) + len(self._new)

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Nothing of it is taken from Tune."""
        del metric, mode, config, spec
        return True

    def suggest(self, trial_id: str) -> Any:
        """The next trial, put on record; `FINISHED` after the last."""
        following = None if self.stopping else self._waiting.popleft() if self._waiting else self._next_new()
        if following is None:
            return Searcher.FINISHED
        number, values = following
        self._trials.suggest(number, values, trial_id)
        self._numbers[trial_id] = number
        return {"values": values}

    def _next_new(self) -> tuple[int, dict[str, Any]] | None:
        """A new trial, whose run is there; those before it that make no valid config have failed."""
        while self._new:
            number = self._new.popleft()
            values = self._proposals.propose(number)
            try:
                self._check(values)
            except ConfigError as error:
                self._trials.suggest(number, values, trial_id="")
                self._trials.end(number, Result("failed", None, 0, 0.0, str(error)))
                self._proposals.learn(number, None)
            else:
                open_run(trial_config(self._config, number, values))
                return number, values
        return None

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Take note of an error that is not the trial's own."""
        del trial_id
        self.fault = self.fault or fault_in(result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Put on record that a trial was stopped early or broke down; others have said themselves how they ended."""
        del result
        number = self._numbers[trial_id]
        (trial,) = (each for each in self._trials.all() if each.number == number)
        ended = trial.result
        if ended is None and self.stopping:
            return
        if ended is None:
            ended = self._standing(number, error)
            self._trials.end(number, ended)
        self._proposals.learn(number, ended.metric if ended.ending != "failed" else None)

    def _standing(self, number: int, broke: bool) -> Result:
        config = self._config
        lines = read_journal(trial_folder(config, number).journal)
        reason = f"its process broke down {config.train.max_failures + 1} times" if broke else ""
        return standing(lines, config.evaluate.primary, "failed" if broke else "stopped early", reason)
