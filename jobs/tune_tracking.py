"""A search in MLflow: a parent run with a child for each trial, all written from here, by what the files say.

The parent has the figures of the job's machine; those of other machines of a cluster are not sampled.

Trials write records and journals; what MLflow has of them can be behind but not wrong, and a search that goes on goes
on in the same runs.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from jobs.command import say
from metarec.errors import MetarecError, TrackingError

if TYPE_CHECKING:
    from metarec.search.search import Search
    from metarec.search.trials import Trial
    from metarec.tracking import Outbox, Run, Store

PARENT = "mlflow.parentRunId"
SECONDS_BETWEEN_LOOKS = 2.0
SECONDS_AFTER_FAILED_SYNC = 60.0


class SearchTracking:
    """A `Watch` over the trials of a search, and their runs in MLflow; a `with` block gives all of them true statuses.

    Args:
        search: what is searched.
        store: where to track it.
    """

    def __init__(self, search: "Search", store: "Store") -> None:
        self._config, self._folder, self._records = search.config, search.folder, search.trials
        self._dataset, self._drawn, self._store = search.dataset, tuple(search.space.domains), store
        self._children: dict[int, tuple[Run, Outbox]] = {}
        self._told: set[int] = set()
        self._sampling = contextlib.ExitStack()
        self._looked = time.monotonic()

    def __enter__(self) -> "SearchTracking":
        """Start the parent run, or go on with it."""
        from metarec.tracking import Outbox, sampled_machine, track

        self._parent = track(self._store, self._folder, self._config, tags={"metarec.kind": "search"})
        self._parent.log_dataset(self._dataset.manifest)
        self._told = {trial.number for trial in self._records.all() if trial.result}
        self._machine = Outbox(self._store, self._parent.run_id, self._folder.machine_journal)
        self._sampling.enter_context(sampled_machine(self._folder.machine_journal))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the parent and the trials that are not finished there; those that have not ended were killed."""
        self._sampling.close()
        with contextlib.suppress(TrackingError):  # the parent says it
            self._machine.send()
        for number, (run, _) in self._children.items():
            with contextlib.suppress(MetarecError):
                self._end(self._records.read(number), run)
        self._parent.__exit__(kind, error, trace)

    def __call__(self, *, last: bool = False) -> None:
        """Show trials that ended, and bring MLflow up to what the files say."""
        if not last and time.monotonic() - self._looked < SECONDS_BETWEEN_LOOKS:
            return
        trials = self._records.all()
        for trial in trials:
            if trial.result and trial.number not in self._told:
                self._told.add(trial.number)
                say(self._sentence(trial, sum(1 for each in trials if each.result)))
        try:
            self._machine.send()
            for trial in trials:
                self._sync(trial)
        except TrackingError as error:
            say(f"warning: {error}; the search goes on, its figures are kept in {self._folder.uri}")
            self._looked += SECONDS_AFTER_FAILED_SYNC
        self._looked = max(self._looked, time.monotonic())

    def keep(self, files: Mapping[str, bytes], best: "Trial") -> None:
        """Keep what came of the search with the parent run."""
        for name, content in files.items():
            self._parent.log_artifact_bytes(name, content)
        if best.result is not None and best.result.metric is not None:
            self._parent.log_metrics(0, {"validation.metric": best.result.metric})
        best_values = {f"best.{name}": best.values[name] for name in self._drawn}
        self._parent.set_tags({"best.trial": best.number, **best_values})

    @contextlib.contextmanager
    def reopened(self, trial: "Trial") -> Iterator["Run"]:
        """The run of a trial that ended, for more to be written to it; it ends again as the trial ended."""
        run = self._start(trial)
        try:
            yield run
        finally:
            with contextlib.suppress(TrackingError):  # the parent says it
                self._end(trial, run)

    def _sync(self, trial: "Trial") -> None:
        """Send what is new of a trial; one that ended gets its status, once."""
        from metarec.search.trials import trial_folder
        from metarec.tracking import Outbox

        folder = trial_folder(self._config, trial.number)
        state = folder.read_state()
        if not state or state.get("ending_is_tracked"):  # one that makes no valid config has no run
            return
        if trial.number not in self._children:
            if trial.result is None:
                folder.update_state(status="running")
            started = self._start(trial)
            self._children[trial.number] = started, Outbox(self._store, started.run_id, folder.journal)
        run, outbox = self._children[trial.number]
        outbox.send()
        if trial.result is not None:
            if trial.takeovers:
                run = self._start(trial)  # which shows the settings that changed
                run.set_tags({"search.took_over": ", ".join(f"{t.source} at step {t.step}" for t in trial.takeovers)})
            run.set_tags({"search.ending": trial.result.ending, "search.reason": trial.result.reason})
            self._end(trial, run)
            folder.update_state(ending_is_tracked=True)
            del self._children[trial.number]

    def _end(self, trial: "Trial", run: "Run") -> None:
        """Give the run of a trial its status, in its folder and then in MLflow."""
        from metarec import tracking
        from metarec.search.trials import STATUS, trial_folder

        kept = "killed" if trial.result is None else STATUS[trial.result.ending]
        trial_folder(self._config, trial.number).update_state(status=kept)
        run.finish(tracking.STATUS[kept])

    def _start(self, trial: "Trial") -> "Run":
        from metarec.search.trials import trial_config, trial_folder
        from metarec.tracking import track

        folder = trial_folder(self._config, trial.number)
        config = trial_config(self._config, trial.number, trial.values)
        tags = {PARENT: self._parent.run_id, "metarec.kind": "trial"}
        run = track(self._store, folder, config, tags=tags)
        run.log_dataset(self._dataset.manifest)
        return run

    def _sentence(self, trial: "Trial", ended: int) -> str:
        from metarec.search.outcome import text_of

        assert trial.result is not None
        values = ", ".join(f"{name} {text_of(trial.values[name])}" for name in self._drawn)
        metric = (
            f", validation {self._config.evaluate.primary} {trial.result.metric:.4f}" if trial.result.metric else ""
        )
        reason = f" ({trial.result.reason})" if trial.result.reason else ""
        how = f"{trial.result.ending} after {trial.result.num_epochs} epochs{reason}{metric}"
        return f"trial {trial.number} ({ended} ended): {values}: {how}"
