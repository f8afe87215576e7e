"""Meta-train a recommender, judge it beside the floors, track it, register it, and promote it if it passes the gate.

With no argument: the built-in synthetic ratings, a Ray of its own, and an MLflow store under ~/.metarec. A run with the
name and config of an earlier one goes on where that one stopped, or prints its result. With `run.seeds` it is done for
each of them, and ends with the results of all and their mean.
"""

import argparse
import dataclasses
import math
import shlex
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from jobs import command
from jobs.command import say
from jobs.evaluate import evaluate_beside_floors, figures_of, report_files
from jobs.train_seeds import work_on_seeds
from metarec import storage
from metarec.config import Config, with_values
from metarec.errors import ConfigError, GateError, RegistryError, StorageError, TrackingError, UnreachableError
from metarec.train.run import RunFolder, keeping_status, locked, name_run, open_run

if TYPE_CHECKING:
    from metarec.data.dataset import Dataset
    from metarec.data.schedule import Schedule
    from metarec.evaluate.evaluation import Evaluation
    from metarec.evaluate.gate import Verdict
    from metarec.registry import Version
    from metarec.serving.learner import Learner
    from metarec.tracking import Outbox, Run, Store
    from metarec.train.launch import Watch

SECONDS_BETWEEN_LOOKS = 2.0


def run(config: Config, arguments: argparse.Namespace) -> None:
    """Do the whole job, or print the result of a run that is finished."""
    del arguments
    train_or_show(config)


def train_or_show(config: Config) -> None:
    """`run`, for one seed or for each of several."""
    config = with_values(config, {"run.name": name_run(config)})
    with command.room_for(config, check_room):
        folder = open_run(config)
        with locked(folder):
            finished = folder.read_state().get("summary")
            if finished is None:
                finished = work_on_seeds(config, folder, train_or_show) if config.run.seeds else work(config, folder)
            else:
                say(f"run {config.run.name} is finished; this is its result, from {folder.uri}")
            print(finished, flush=True)


def check_room(config: Config) -> None:
    """Refuse, with the sum, a run that the machines have no room for."""
    from metarec.train.room import check_free_to_train, check_resources

    cpus = check_resources(config)
    if command.joins_cluster():
        check_free_to_train(config, cpus)


def work(config: Config, folder: RunFolder) -> str:
    """Prepare, train, evaluate, track, register and promote; return what a person should read at the end."""
    from metarec.build import check_combination
    from metarec.data.sources import check_source
    from metarec.evaluate.requirements import require_judgeable, require_lists
    from metarec.tracking import Delivery, open_store, sampled_machine, track

    check_combination(config)
    require_judgeable(config)
    check_source(config)
    say(f"run {config.run.name}: opening the tracking store and Ray")
    store = open_store(config)
    with command.ray_session():
        from metarec.data.prepare import prepare
        from metarec.train.preflight import check_shared
        from metarec.train.room import check_resources
        from metarec.train.worker import checkpoints_of

        cpus = check_resources(config)
        check_shared(config.output.uri)
        dataset = prepare(config, progress=say)
        require_lists(config, dataset)
        announce_plan(config, dataset, cpus)
        noted = checkpoints_of(config, folder).tracking_run_id()
        with keeping_status(folder), track(store, folder, config, noted) as tracked:
            tracked.log_dataset(dataset.manifest)
            with Delivery(outboxes_of(store, tracked, folder), say=say), sampled_machine(folder.machine_journal):
                train(config, dataset, folder)
                try:
                    summary = judge(config, dataset, folder, store, tracked)
                except TrackingError as error:
                    again = f"--set run.name={config.run.name}"
                    raise TrackingError(f"{error}; training is done and kept: go on with {again}") from error
    folder.update_state(status="finished", summary=summary)
    return summary


def outboxes_of(store: "Store", tracked: "Run", folder: RunFolder) -> list["Outbox"]:
    """What takes each of a run's journals to its run in MLflow."""
    from metarec.tracking import Outbox

    return [Outbox(store, tracked.run_id, journal, warn=say) for journal in folder.journals]


def announce_plan(config: Config, dataset: "Dataset", cpus: float) -> None:
    """Say what is going to happen: workers, devices, users, tasks and steps."""
    from metarec.train.worker import schedule_of

    schedule, tasks = schedule_of(config, dataset), config.words.tasks
    device = "GPU" if config.train.use_gpu else "CPU"
    workers = f"{config.train.num_workers} workers ({device}, {cpus:g} CPUs each)" if cpus else "this process (CPU)"
    say(
        f"plan: {config.learner_name}, {schedule.num_tasks:,} training {tasks} x "
        f"{config.outer.epochs} epochs = {schedule.num_steps:,} steps of up to {config.train.meta_batch} tasks, "
        f"on {workers}; {dataset.num_tasks('validation'):,} {tasks} to validate and "
        f"{dataset.num_tasks('test'):,} to test"
    )


def train(config: Config, dataset: "Dataset", folder: RunFolder) -> None:
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
        watch = watcher(config, schedule, folder)
        outcome = launch(config, dataset, folder, watch=watch, stop=stop, say=say, shown=command.joins_cluster())
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


def watcher(config: Config, schedule: "Schedule", folder: RunFolder) -> "Watch":
    """Something to call now and then: shows a line for each epoch in the journal."""
    from metarec.train.journal import read_journal

    shown = max((line.step for line in read_journal(folder.journal)), default=-1)
    next_look = time.monotonic() + SECONDS_BETWEEN_LOOKS

    def watch(*, last: bool = False) -> None:
        nonlocal shown, next_look
        began = time.monotonic()
        if not last and began < next_look:
            return
        for line in read_journal(folder.journal):
            if line.step > shown and schedule.ends_epoch(line.step):
                show_epoch(config, schedule.epoch_of(line.step) + 1, line.metrics)
                shown = line.step
        took = time.monotonic() - began  # a long journal is read less often
        next_look = time.monotonic() + max(SECONDS_BETWEEN_LOOKS, 100 * took)

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
    from metarec.evaluate.report import places_of, write_report
    from metarec.evaluate.table import render_table
    from metarec.train.journal import Journal

    learner = best_learner(config, dataset, folder)
    name = config.learner_name
    evaluation, verdict = beside_champion(config, dataset, tracked, learner, name)
    figures, primary = figures_of(evaluation, name), config.evaluate.primary
    facts = {
        "run": config.run.name,
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint,
        "protocol": config.protocol.name,
    }
    write_report(evaluation, verdict, folder.report, primary=primary, **facts)
    table = render_table(evaluation, primary=primary)
    for file, content in report_files(evaluation, verdict, primary, facts).items():
        tracked.log_artifact_bytes(file, content)
    results = Journal(folder.results_journal)
    results.write(0, {f"test.{metric}": value for metric, value in figures.items() if math.isfinite(value)})
    results.flush()
    say(f"registering {config.model_name}")
    version = registry.log_and_register(
        tracked,
        learner,
        name=config.model_name,
        metrics={metric: evaluation.interval(name, "all", metric) for metric in figures},
        verdict=verdict.to_json(),
        report=storage.read_bytes(folder.report),
    )
    lines, promoted = promotion_lines(store, version)
    steps = next_steps(config, dataset, store, version, "champion" if promoted else "candidate")
    return "\n".join(["", table, "", *lines, f"report: {places_of(folder.report)}", "", *steps])


def beside_champion(
    config: Config, dataset: "Dataset", tracked: "Run", learner: "Learner", name: str
) -> tuple["Evaluation", "Verdict"]:
    """The learner, under a name, evaluated beside the floors and today's champion, and what the gate says to it.

    Nothing is promoted over a champion that it cannot be compared with. One that this run made, before it was killed
    or stopped, is no opponent.
    """
    from metarec import registry
    from metarec.evaluate.gate import judge as ask_gate

    champion = registry.champion(tracked.store, config.model_name)
    if champion is not None and champion.run_id == tracked.run_id:
        champion = None
    rivals, fault = champion_learner(dataset, tracked.store, champion)
    evaluation = evaluate_beside_floors(config, dataset, {**rivals, name: learner})
    verdict = ask_gate(
        evaluation,
        candidate=name,
        opponents=[other for other in evaluation.predictors if other != name],
        primary=config.evaluate.primary,
    )
    if fault is not None:
        verdict = dataclasses.replace(verdict, passed=False, reasons=(*verdict.reasons, fault))
    return evaluation, verdict


def best_learner(config: Config, dataset: "Dataset", folder: RunFolder) -> "Learner":
    """The run's model at its best validation metric, with all that it needs to serve."""
    from metarec.build import build_learner
    from metarec.data.dataset import read_part
    from metarec.data.item_statistics import item_statistics
    from metarec.data.reception import read_reception
    from metarec.serving.learner import STATISTICS, Learner
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
    item_ids = dataset.item_ids()
    rated = item_statistics(map(read_part, dataset.parts("train")), num_items=len(item_ids))
    facts = {
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint,
        "run": config.run.name,
        "step": best,
        "validation": progress.validation,
        "training_seconds": training_seconds(folder),
        STATISTICS: {name: values.tolist() for name, values in rated._asdict().items()},
    }
    return Learner(
        module,
        config,
        dataset.schema,
        dataset.catalogue(),
        item_ids,
        dataset.item_titles(),
        facts,
        read_reception(dataset),
    )


def training_seconds(folder: RunFolder) -> float:
    """The seconds that the run's epochs took, those of earlier starts included."""
    from metarec.train.journal import read_journal

    return sum(line.metrics.get("train.seconds", 0.0) for line in read_journal(folder.journal))


def champion_learner(
    dataset: "Dataset", store: "Store", champion: "Version | None"
) -> tuple[dict[str, "Learner"], str | None]:
    """Today's champion as an opponent, or why it can be none; neither where nobody is champion.

    Raises:
        UnreachableError: its files lie where nothing answers.
    """
    from metarec import registry

    if champion is None:
        return {}, None
    if champion.fingerprint != dataset.fingerprint:
        return {}, registry.of_other_dataset(champion, dataset.fingerprint)
    try:
        pulled = registry.pull(champion.uri, tracking_uri=store.uri)
    except UnreachableError:
        raise
    except (StorageError, RegistryError, ConfigError) as error:
        return {}, (
            f"{champion.as_champion} cannot be read ({error}); python -m jobs.promote --force makes the candidate "
            "champion in its place"
        )
    return {champion.as_opponent: pulled}, None


def promotion_lines(store: "Store", version: "Version") -> tuple[list[str], bool]:
    """Promote a new version where it passed the gate; what there is to say of that, and whether it is the champion."""
    from metarec import registry

    candidate = f"models:/{version.name}@candidate is version {version.number}"
    if not version.verdict["passed"]:
        return [candidate, *(f"not promoted: {reason}" for reason in version.verdict["reasons"])], False
    try:
        registry.promote(store, version.name, version.number)
    except GateError as error:  # another became champion since this one was judged
        return [candidate, error.message], False
    return [f"promoted: models:/{version.name}@champion is version {version.number}"], True


def next_steps(config: Config, dataset: "Dataset", store: "Store", version: "Version", alias: str) -> list[str]:
    """Three commands to copy, the second of which is an address where a server has the runs."""
    items, high, low = dataset.item_ids()[:2], dataset.schema.heads[0].high, dataset.schema.heads[0].low
    place = "".join(f" --set {shlex.quote(f'{name}={value}')}" for name, value in store_settings(config).items())
    example = ",".join(f"{item}:{rating:g}" for item, rating in zip(items, (high, low), strict=False))
    return [
        "next steps:",
        f'  python -m jobs.recommend --model models:/{version.name}@{alias} --ratings "{example}" -k 10{place}',
        f"  {mlflow_page(store)}",
        f"  python -m jobs.evaluate --model models:/{version.name}@{alias}{place}",
    ]


def mlflow_page(store: "Store") -> str:
    """The page of a store's experiment on its server, or the command that starts one for a database."""
    from metarec.tracking import shown

    place = shown(store.uri)
    if place.startswith(("http://", "https://")):
        return f"{place.rstrip('/')}/#/experiments/{store.experiment_id}"
    # A database's password is nowhere but in the environment.
    return f"mlflow ui --backend-store-uri {shlex.quote(place) if place == store.uri else '$MLFLOW_TRACKING_URI'}"


def store_settings(config: Config) -> dict[str, str]:
    """The settings without which another command would look for the model in another store."""
    settings = {"output.root": config.output.root, "tracking.uri": config.tracking.uri}
    return {name: value for name, value in settings.items() if value}


if __name__ == "__main__":
    command.main(__doc__, run)
