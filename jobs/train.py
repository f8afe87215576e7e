"""Meta-train a recommender, judge it beside the floors, track it, register it, and promote it if it passes the gate.

With no argument: the built-in synthetic ratings, a Ray of its own, and an MLflow store under ~/.metarec. A run with the
name and config of an earlier one goes on where that one stopped, or prints its result.
"""

import argparse
import dataclasses
import shlex
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from jobs import command
from jobs.command import say
from jobs.evaluate import evaluate_beside_floors
from metarec import storage
from metarec.config import Config, with_values
from metarec.errors import StorageError, TrackingError
from metarec.train.run import RunFolder, locked, name_run, open_run

if TYPE_CHECKING:
    from metarec.data.dataset import Dataset
    from metarec.data.schedule import Schedule
    from metarec.evaluate.gate import Verdict
    from metarec.evaluate.protocol import Predict
    from metarec.learner import Learner
    from metarec.registry import Version
    from metarec.tracking import Run, Store
    from metarec.train.launch import Watch

SECONDS_BETWEEN_LOOKS = 2.0
SECONDS_AFTER_FAILED_SYNC = 60.0


def run(config: Config, arguments: argparse.Namespace) -> None:
    """Do the whole job, or print the result of a run that is finished."""
    del arguments
    config = with_values(config, {"run.name": name_run(config)})
    folder = open_run(config)
    with locked(folder):
        finished = folder.read_state().get("summary")
        if finished is None:
            finished = work(config, folder)
        else:
            say(f"run {config.run.name} is finished; this is its result, from {folder.uri}")
        print(finished, flush=True)


def work(config: Config, folder: RunFolder) -> str:
    """Prepare, train, evaluate, track, register and promote; return what a person should read at the end."""
    from metarec.build import check_combination
    from metarec.data.sources import check_source
    from metarec.tracking import open_store, start_run

    check_combination(config)
    check_source(config)
    say(f"run {config.run.name}: opening the tracking store and Ray")
    store = open_store(config)
    with command.ray_session():
        from metarec.data.prepare import prepare
        from metarec.train.preflight import check_resources, check_shared

        cpus = check_resources(config)
        check_shared(config.output.uri)
        dataset = prepare(config, progress=say)
        announce_plan(config, dataset, cpus)
        with start_run(store, config.run.name, config, folder.read_state().get("mlflow_run_id")) as tracked:
            folder.update_state(mlflow_run_id=tracked.run_id, status="running")
            tracked.log_dataset(dataset.manifest)
            train(config, dataset, folder, tracked)
            summary = judge(config, dataset, folder, store, tracked)
    folder.update_state(status="finished", summary=summary)
    return summary


def announce_plan(config: Config, dataset: "Dataset", cpus: float) -> None:
    """Say what is going to happen: workers, devices, users, tasks and steps."""
    from metarec.train.worker import schedule_of

    schedule, tasks = schedule_of(config, dataset), config.words.tasks
    device = "GPU" if config.train.use_gpu else "CPU"
    workers = f"{config.train.num_workers} workers ({device}, {cpus:g} CPUs each)" if cpus else "this process (CPU)"
    say(
        f"plan: {config.algorithm.name} on {config.model.name}, {schedule.num_tasks:,} training {tasks} x "
        f"{config.outer.epochs} epochs = {schedule.num_steps:,} steps of up to {config.train.meta_batch} tasks, "
        f"on {workers}; {dataset.num_tasks('validation'):,} {tasks} to validate and "
        f"{dataset.num_tasks('test'):,} to test"
    )


def train(config: Config, dataset: "Dataset", folder: RunFolder, tracked: "Run") -> None:
    """Train to the end of the schedule, or save and raise `Interrupted` when somebody asks to stop."""
    from metarec.train.launch import launch
    from metarec.train.worker import checkpoints_of, schedule_of

    schedule, skipped = schedule_of(config, dataset), list[str]()
    start = checkpoints_of(config, folder).newest(skipped.append)
    for warning in skipped:
        say(f"warning: {warning}")
    if start is not None:
        say(f"going on from the checkpoint of step {start:,} of {schedule.num_steps:,}")
    with command.stop_on_signal() as stop:
        outcome = launch(config, dataset, folder, watch=watcher(config, schedule, folder, tracked), stop=stop)
    for warning in outcome["warnings"]:
        if warning not in skipped:
            say(f"warning: {warning}")
    seen, due = outcome["num_tasks_seen"], outcome["num_tasks_due"]
    if outcome["stopped"]:
        raise command.Interrupted(
            f"run {config.run.name} is saved at step {outcome['step']} ({seen:,} of {due:,} tasks); "
            f"go on with --set run.name={config.run.name}"
        )
    say(f"trained on {seen:,} tasks of {due:,} due: {due - seen:,} dropped or repeated")


def watcher(config: Config, schedule: "Schedule", folder: RunFolder, tracked: "Run") -> "Watch":
    """Something to call now and then: shows a line for each epoch in the journal and sends the journal to MLflow."""
    from metarec.train.journal import read_journal

    shown = max((line.step for line in read_journal(folder.journal)), default=-1)
    looked = time.monotonic()

    def watch(*, last: bool = False) -> None:
        nonlocal shown, looked
        if not last and time.monotonic() - looked < SECONDS_BETWEEN_LOOKS:
            return
        for line in read_journal(folder.journal):
            if line.step > shown and schedule.ends_epoch(line.step):
                show_epoch(config, schedule.epoch_of(line.step) + 1, line.metrics)
                shown = line.step
        try:
            tracked.sync_journal(folder.journal)
        except TrackingError as error:
            if not last:
                say(f"warning: {error}; training goes on, its metrics are kept in {folder.journal}")
            looked += SECONDS_AFTER_FAILED_SYNC
        looked = max(looked, time.monotonic())

    return watch


def show_epoch(config: Config, number: int, metrics: Mapping[str, float]) -> None:
    """One progress line."""
    parts = [f"epoch {number}/{config.outer.epochs}", f"training loss {metrics['train.loss']:.4f}"]
    if "validation.metric" in metrics:
        parts.append(f"validation {config.evaluate.primary} {metrics['validation.metric']:.4f}")
    say("  ".join([*parts, f"{metrics['train.seconds']:.1f} s"]))


def judge(config: Config, dataset: "Dataset", folder: RunFolder, store: "Store", tracked: "Run") -> str:
    """Evaluate the best checkpoint beside the floors, keep the report, register the model, and promote it or not."""
    from metarec import registry
    from metarec.evaluate.evaluation import METRICS
    from metarec.evaluate.gate import judge as ask_gate
    from metarec.evaluate.plot import plot_curves
    from metarec.evaluate.report import write_report
    from metarec.evaluate.table import render_table

    learner = best_learner(config, dataset, folder)
    champion = registry.champion(store, config.model_name)
    rivals = champion_predictor(dataset, store, champion)
    name = f"{config.algorithm.name} on {config.model.name}"
    evaluation = evaluate_beside_floors(config, dataset, {**rivals, name: learner.module.predict})
    opponents = [other for other in evaluation.predictors if other != name]
    verdict = ask_gate(
        evaluation,
        candidate=name,
        opponents=opponents,
        primary=config.evaluate.primary,
        num_resamples=config.evaluate.num_resamples,
    )
    if champion is not None and not rivals:
        reason = f"{champion.uri}, the champion, was trained on another preparation of the data and cannot be compared"
        verdict = dataclasses.replace(verdict, passed=False, reasons=(*verdict.reasons, reason))
    figures = {metric: evaluation.value(name, "all", metric) for metric in METRICS}
    facts = {"run": config.run.name, "dataset": dataset.fingerprint, "primary": config.evaluate.primary}
    write_report(evaluation, verdict, folder.report, **facts)
    table = render_table(evaluation, primary=config.evaluate.primary)
    tracked.log_artifact_bytes("report.json", storage.read_bytes(folder.report))
    tracked.log_artifact_bytes("adaptation-curve.png", plot_curves(evaluation, config.evaluate.primary))
    tracked.log_artifact_bytes("results.txt", table.encode())
    tracked.log_metrics(0, {f"test.{metric}": value for metric, value in figures.items()})
    say(f"registering {config.model_name}")
    version = registry.log_and_register(
        tracked, learner, name=config.model_name, metrics=figures, verdict=verdict.to_json()
    )
    if verdict.passed:
        registry.promote(store, version.name, version.number)
    return "\n".join(
        [
            "",
            table,
            "",
            *promotion_lines(version, verdict),
            "",
            *next_steps(config, dataset, store, version, verdict),
        ]
    )


def best_learner(config: Config, dataset: "Dataset", folder: RunFolder) -> "Learner":
    """The run's model at its best validation metric, with all that it needs to serve."""
    from metarec.build import build_learner
    from metarec.learner import Learner
    from metarec.train.worker import checkpoints_of

    module = build_learner(config, dataset.schema)
    checkpoints = checkpoints_of(config, folder)
    best = checkpoints.best(lambda warning: say(f"warning: {warning}"))
    if best is None:
        raise StorageError(
            f"{folder.checkpoints} has no whole checkpoint any more; choose another run.name to train anew"
        )
    progress = checkpoints.load(best, module)
    say(f"best checkpoint: step {best}, validation {config.evaluate.primary} {progress.validation:.4f}")
    facts = {
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint,
        "run": config.run.name,
        "step": best,
        "validation": progress.validation,
    }
    return Learner(
        module, config, dataset.schema, dataset.catalogue(), dataset.item_ids(), dataset.item_titles(), facts
    )


def champion_predictor(dataset: "Dataset", store: "Store", champion: "Version | None") -> dict[str, "Predict"]:
    """Today's champion as an opponent; nothing where there is none or it knows another preparation of the data."""
    from metarec import registry

    if champion is None or champion.fingerprint != dataset.fingerprint:
        return {}
    pulled = registry.pull(champion.uri, tracking_uri=store.uri)
    return {f"champion v{champion.number}": pulled.module.predict}


def promotion_lines(version: "Version", verdict: "Verdict") -> list[str]:
    """Whether the model became the champion, and if not why not."""
    if verdict.passed:
        return [f"promoted: models:/{version.name}@champion is version {version.number}"]
    candidate = f"models:/{version.name}@candidate is version {version.number}"
    return [candidate, *(f"not promoted: {reason}" for reason in verdict.reasons)]


def next_steps(config: Config, dataset: "Dataset", store: "Store", version: "Version", verdict: "Verdict") -> list[str]:
    """Three commands to copy."""
    items, high, low = dataset.item_ids()[:2], dataset.schema.heads[0].high, dataset.schema.heads[0].low
    alias = "champion" if verdict.passed else "candidate"
    place = "".join(f" --set {shlex.quote(f'{name}={value}')}" for name, value in store_settings(config).items())
    example = ",".join(f"{item}:{rating:g}" for item, rating in zip(items, (high, low), strict=False))
    return [
        "next steps:",
        f'  python -m jobs.recommend --model models:/{version.name}@{alias} --ratings "{example}" -k 10{place}',
        f"  mlflow ui --backend-store-uri {store.uri}",
        f"  python -m jobs.evaluate --model models:/{version.name}@{alias}{place}",
    ]


def store_settings(config: Config) -> dict[str, str]:
    """The settings without which another command would look for the model in another store."""
    settings = {"output.root": config.output.root, "tracking.uri": config.tracking.uri}
    return {name: value for name, value in settings.items() if value}


if __name__ == "__main__":
    command.main(__doc__, run)
