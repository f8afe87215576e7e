"""Judge a model on the test users of the dataset that it was trained for, beside the closed-form floors.

python -m jobs.evaluate [--config FILE.toml] [--set key=value …] [--model URI …] [--report FILE.json]

Several models of the same dataset are judged together; those that differ in nothing but their seed get a row with their
mean as well. The report is a file of figures and, beside it, a page for a browser; both are kept in MLflow.
"""

import argparse
import dataclasses
import math
import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, NamedTuple

import metarec
from jobs import command
from jobs.command import say
from metarec.config import Config, differences, flat_names, flatten, read_document, with_values
from metarec.errors import ConfigError, RegistryError
from metarec.train.run import FREE_TO_CHANGE

if TYPE_CHECKING:
    from metarec.data.dataset import Dataset
    from metarec.evaluate.evaluation import Evaluation
    from metarec.evaluate.gate import Verdict
    from metarec.evaluate.predictor import Predict
    from metarec.serving.learner import Learner
    from metarec.tracking import Store

OWN_TABLES = ("run", "train", "output", "tracking", "registry")
"""What a job says of itself; everything else is the model's, unless a person names it."""
JUDGING = ("evaluate", "task")
"""Tables by which a model is judged: as it was in training, but for the settings that a person names."""
DATA_TABLES = ("data", "synthetic", "tables", "protocol")
TRAINING_TABLES = ("model", "algorithm", "inner", "outer", "search")
NOT_THE_METHOD = ("run", "evaluate", "output", "tracking", "registry")
"""Tables in which models of one method may differ, but for the setting by which checkpoints were chosen."""
CHOSEN_BY = "evaluate.primary"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this job."""
    parser.add_argument(
        "--model", metavar="URI", nargs="+", help="such as models:/metarec-ml-100k/3; the champion if left out"
    )
    parser.add_argument("--report", metavar="FILE.json", help="where to write the figures, and a page beside them")


def run(config: Config, arguments: argparse.Namespace) -> None:
    """Print the table of results and write the report."""
    from metarec.evaluate.report import check_report_path
    from metarec.tracking import open_store, store_uri

    if arguments.report:
        check_report_path(arguments.report)
    uris = list(dict.fromkeys(arguments.model or [f"models:/{config.model_name}@champion"]))
    learners = {uri: metarec.pull(uri, tracking_uri=store_uri(config)) for uri in uris}
    first, *_ = learners.values()
    refuse_what_training_settled(first, config, arguments, uris[0])
    own = as_trained(first, config, flat_names(read_document(arguments.config, arguments.set)))
    store = open_store(own)  # before the work, which would be for nothing
    judged = judge_together(own, learners, place=arguments.report)
    print(judged.table, flush=True)
    keep(own, store, judged)


class Judged(NamedTuple):
    """What came of judging some models.

    Attributes:
        evaluation: of all, beside the floors.
        verdict: of the gate, on the last one.
        facts: of models and dataset, for reports.
        table: of results.
    """

    evaluation: "Evaluation"
    verdict: "Verdict"
    facts: dict[str, object]
    table: str


def judge_together(config: Config, learners: "Mapping[str, Learner]", *, place: str | None) -> Judged:
    """Judge models of one dataset beside the floors, and write the report.

    Args:
        config: what they are judged on, and how.
        learners: by what they are called.
        place: of the report; None = it is written nowhere.

    Raises:
        RegistryError: one of them was trained on another preparation of the data.
    """
    from metarec.data.prepare import dataset_fingerprint, prepare
    from metarec.evaluate.gate import judge
    from metarec.evaluate.report import places_of, write_report
    from metarec.evaluate.requirements import require_judgeable, require_lists
    from metarec.evaluate.table import render_table

    require_judgeable(config, next(iter(learners.values())).catalogue.num_items)
    for name, learner in learners.items():
        check_same_dataset(learner, dataset_fingerprint(config), config.dataset_name, name)
    with command.ray_session():
        dataset = prepare(config, progress=say)
    require_lists(config, dataset)
    evaluation = with_mean_over_seeds(evaluate_beside_floors(config, dataset, learners), learners)
    candidate = evaluation.predictors[-1]
    verdict = judge(
        evaluation,
        candidate=candidate,
        opponents=[name for name in evaluation.predictors if name not in learners and name != candidate],
        primary=config.evaluate.primary,
    )
    facts: dict[str, object] = {
        "model": candidate,
        "models": list(learners),
        "dataset": dataset.name,
        "fingerprint": dataset.fingerprint,
        "protocol": config.protocol.name,
    }
    if place:
        write_report(evaluation, verdict, place, primary=config.evaluate.primary, **facts)
        say(f"wrote {places_of(place)}")
    return Judged(evaluation, verdict, facts, render_table(evaluation, primary=config.evaluate.primary))


def keep(config: Config, store: "Store", judged: Judged) -> None:
    """Log a report as a run of its own."""
    from metarec.tracking import start_run

    evaluation, verdict, facts, _ = judged
    candidate = evaluation.predictors[-1]
    tags = {"metarec.job": "evaluate", "model": candidate}
    with start_run(store, f"evaluate {candidate}", config, tags=tags) as tracked:
        tracked.log_metrics(0, {f"test.{name}": value for name, value in figures_of(evaluation, candidate).items()})
        for name, content in report_files(evaluation, verdict, config.evaluate.primary, facts).items():
            tracked.log_artifact_bytes(name, content)


def report_files(
    evaluation: "Evaluation", verdict: "Verdict", primary: str, facts: Mapping[str, object]
) -> dict[str, bytes]:
    """What a tracker keeps of an evaluation: figures, page, table and curve, by name."""
    from metarec.evaluate.plot import plot_curves
    from metarec.evaluate.report import render_report
    from metarec.evaluate.table import render_table

    figures, page = render_report(evaluation, verdict, primary=primary, **facts)
    return {
        "report.json": figures,
        "report.html": page,
        "adaptation-curve.png": plot_curves(evaluation, primary),
        "results.txt": render_table(evaluation, primary=primary).encode(),
    }


def figures_of(evaluation: "Evaluation", predictor: str) -> dict[str, float]:
    """The metrics of a predictor with all support ratings, those that are defined."""
    values = {metric.name: evaluation.value(predictor, "all", metric.name) for metric in evaluation.metrics}
    return {name: value for name, value in values.items() if not math.isnan(value)}


def with_mean_over_seeds(evaluation: "Evaluation", learners: "Mapping[str, Learner]") -> "Evaluation":
    """The evaluation with a row for the mean of all models, where nothing shaped them differently but their seeds."""
    from metarec.evaluate.seeds import with_mean_of

    first, *others = (learner.config for learner in learners.values())
    changed = {name for other in others for name in differences(first, other, ignore=FREE_TO_CHANGE)}
    seeds = sorted({config.run.seed for config in (first, *others)})
    of_one_method = all(name != CHOSEN_BY and name.partition(".")[0] in NOT_THE_METHOD for name in changed)
    if not others or not of_one_method or len(seeds) < len(learners):
        return evaluation
    return with_mean_of(evaluation, list(learners), f"mean over seeds {', '.join(map(str, seeds))}")


def as_trained(learner: "Learner", config: Config, named: Collection[str]) -> Config:
    """The config that a model was trained with, with this job's own tables and what it was told of judging.

    Args:
        learner: the model.
        config: of the job.
        named: the settings that a person named.
    """

    def is_own(name: str) -> bool:
        table = name.partition(".")[0]
        return table in OWN_TABLES or (name in named and (table in JUDGING or name == "data.path"))

    return with_values(learner.config, {name: value for name, value in flatten(config).items() if is_own(name)})


def refuse_what_training_settled(learner: "Learner", config: Config, arguments: argparse.Namespace, uri: str) -> None:
    """Refuse settings that a person named and that would have no effect on a model that is trained.

    A config file may describe how a model is trained, but not other ratings or other cold users than this one's.

    Args:
        learner: the model.
        config: of the job.
        arguments: `config` and `set`, which say what was named.
        uri: of the model.

    Raises:
        ConfigError: one of them differs from the model's.
    """
    own, wanted = flatten(learner.config), flatten(config)
    overrides = flat_names(read_document(None, arguments.set))
    for name in flat_names(read_document(arguments.config, arguments.set)):
        settled = (*DATA_TABLES, *TRAINING_TABLES) if name in overrides else DATA_TABLES
        if name.partition(".")[0] in settled and name != "data.path" and own[name] != wanted[name]:
            raise ConfigError(
                f"{name} is {wanted[name]!r} here, and {uri} was trained with {own[name]!r}; leave it out, or name "
                "another model"
            )


def evaluate_beside_floors(config: Config, dataset: "Dataset", learners: "Mapping[str, Learner]") -> "Evaluation":
    """Judge the floors and then some models on the dataset's test users.

    Args:
        config: how tasks are drawn and judged.
        dataset: whose test users they are.
        learners: by what they are called, the candidate last.
    """
    from metarec.baselines import floors_for

    catalogue, histories = dataset.catalogue(), dataset.histories("train")
    predictors, seconds = dict[str, "Predict"](), dict[str, float | None]()
    for name, fit in floors_for(config).items():
        started = time.perf_counter()
        predictors[name] = fit(histories, catalogue)
        seconds[name] = time.perf_counter() - started
    for name, learner in learners.items():
        predictors[name], seconds[name] = learner.predictor, learner.facts.get("training_seconds")
    return evaluate_on_test(config, dataset, predictors, training_seconds=seconds)


def evaluate_on_test(
    config: Config,
    dataset: "Dataset",
    predictors: Mapping[str, "Predict"],
    *,
    training_seconds: Mapping[str, float | None],
) -> "Evaluation":
    """Judge predictors on the dataset's test users, as `config.evaluate` says; the last one is the candidate."""
    from metarec.data.negatives import NO_NEGATIVES, Negatives
    from metarec.evaluate.candidates import WholeCatalogue
    from metarec.evaluate.known_ratings import KnownRatings
    from metarec.evaluate.protocol import evaluate
    from metarec.evaluate.segments import segments_of

    catalogue, test = dataset.catalogue(), dataset.histories("test")
    ranked_among, known, negatives = None, None, NO_NEGATIVES
    if config.evaluate.candidates == "all":
        ranked_among = WholeCatalogue(catalogue.num_items, dataset.elsewhere())
    if config.evaluate.known_ratings:
        known = KnownRatings(dataset.histories("train"), config.evaluate.known_ratings, config.protocol.seed)
    if config.task.num_negatives:
        negatives = Negatives.among_known(catalogue, config.task.num_negatives, dataset.elsewhere())
    say(f"evaluating {len(predictors)} predictors on {len(test):,} test {config.words.tasks}")
    evaluation = evaluate(
        predictors,
        catalogue,
        test,
        head=dataset.schema.heads[0],
        num_query=config.task.num_query,
        support_sizes=config.evaluate.support_sizes,
        num_draws=config.evaluate.num_draws,
        seed=config.protocol.seed,
        negatives=negatives,
        k=config.evaluate.k,
        relevant=config.evaluate.relevant,
        candidates=ranked_among,
        known=known,
        in_time=config.in_time,
        words=config.words,
    )
    segments = segments_of(evaluation.num_support, evaluation.users, catalogue, dataset.schema.user_fields)
    timed = {name: seconds for name, seconds in training_seconds.items() if seconds is not None}
    resamples = config.evaluate.num_resamples
    return dataclasses.replace(evaluation, training_seconds=timed, segments=segments, num_resamples=resamples)


def check_same_dataset(learner: "Learner", fingerprint: str, name: str, uri: str) -> None:
    """Refuse a model whose indices mean other users and items.

    Args:
        learner: the model.
        fingerprint, name: of the dataset that it is to be judged on.
        uri: of the model.

    Raises:
        RegistryError: it was trained on another preparation of the data.
    """
    own = str(learner.facts.get("fingerprint"))
    if own != fingerprint:
        raise RegistryError(
            f"{uri} was trained on dataset {own[:12]}, this is {fingerprint[:12]} of {name}: its users and items are "
            "others, or the files have changed since; train a new model, or name models of one dataset"
        )


if __name__ == "__main__":
    command.main(__doc__, run, add_arguments)
