"""Judge a model on the test users of the dataset that it was trained for, beside the closed-form floors.

python -m jobs.evaluate [--config FILE.toml] [--set key=value …] --model URI [--report FILE.json]
"""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

import metarec
from jobs import command
from jobs.command import say
from metarec.config import Config, config_to_dict, with_values
from metarec.errors import RegistryError

if TYPE_CHECKING:
    from metarec.data.dataset import Dataset
    from metarec.evaluate.protocol import Evaluation, Predict
    from metarec.learner import Learner

OWN_TABLES = ("run", "evaluate", "train", "output", "tracking", "registry")
"""What a job says of itself; everything else is the model's."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this job."""
    parser.add_argument("--model", metavar="URI", help="such as models:/metarec-ml-100k/3; the champion if left out")
    parser.add_argument("--report", metavar="FILE.json", help="where to write the figures")


def run(config: Config, arguments: argparse.Namespace) -> None:
    """Print the table of results and write the report."""
    from metarec.data.prepare import prepare
    from metarec.evaluate.gate import judge
    from metarec.evaluate.report import write_report
    from metarec.evaluate.table import render_table
    from metarec.tracking import store_uri

    uri = arguments.model or f"models:/{config.model_name}@champion"
    learner = metarec.pull(uri, tracking_uri=store_uri(config))
    config = with_data_of(learner, config)
    with command.ray_session():
        dataset = prepare(config, progress=say)
    check_same_dataset(learner, dataset, uri)
    evaluation = evaluate_beside_floors(config, dataset, {uri: learner.module.predict})
    verdict = judge(
        evaluation,
        candidate=uri,
        opponents=[name for name in evaluation.predictors if name != uri],
        primary=config.evaluate.primary,
        num_resamples=config.evaluate.num_resamples,
    )
    print(render_table(evaluation, primary=config.evaluate.primary))
    if arguments.report:
        facts = {"model": uri, "dataset": dataset.fingerprint, "primary": config.evaluate.primary}
        write_report(evaluation, verdict, arguments.report, **facts)
        say(f"wrote {arguments.report}")


def with_data_of(learner: "Learner", config: Config) -> Config:
    """The model's config with this job's own tables, but the metric that the model was made for.

    A `data.path` that is given stands.
    """
    given = config_to_dict(config)
    own = {f"{table}.{name}": value for table in OWN_TABLES for name, value in given[table].items()}
    own["evaluate.primary"] = learner.config.evaluate.primary
    return with_values(learner.config, own | ({"data.path": config.data.path} if config.data.path else {}))


def evaluate_beside_floors(config: Config, dataset: "Dataset", candidates: Mapping[str, "Predict"]) -> "Evaluation":
    """Judge the floors and then the candidates on the dataset's test users."""
    from metarec.baselines import floors_for
    from metarec.data.negatives import Negatives
    from metarec.evaluate.protocol import evaluate

    catalogue, histories = dataset.catalogue(), dataset.histories("train")
    predictors = {name: fit(histories, catalogue) for name, fit in floors_for(config).items()}
    test = dataset.histories("test")
    say(f"evaluating {len(predictors) + len(candidates)} predictors on {len(test):,} test {config.words.tasks}")
    return evaluate(
        {**predictors, **candidates},
        catalogue,
        test,
        head=dataset.schema.heads[0],
        num_query=config.task.num_query,
        support_sizes=config.evaluate.support_sizes,
        num_draws=config.evaluate.num_draws,
        seed=config.protocol.seed,
        negatives=Negatives.among_known(catalogue, config.task.num_negatives),
        in_time=config.in_time,
        words=config.words,
    )


def check_same_dataset(learner: "Learner", dataset: "Dataset", uri: str) -> None:
    """Refuse a model whose indices mean other users and items.

    Raises:
        RegistryError: it was trained on another preparation of the data.
    """
    fingerprint = learner.facts.get("fingerprint")
    if fingerprint != dataset.fingerprint:
        raise RegistryError(
            f"{uri} was trained on dataset {str(fingerprint)[:12]}, this is {dataset.fingerprint[:12]} of "
            f"{dataset.name}: its files have changed since; train a new model"
        )


if __name__ == "__main__":
    command.main(__doc__, run, add_arguments)
