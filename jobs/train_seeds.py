"""A training over several seeds: a run of its own for each, and all of them judged together, with their mean."""

from collections.abc import Callable

import metarec
from jobs.command import say
from jobs.evaluate import judge_together, keep
from metarec import storage
from metarec.config import Config, with_values
from metarec.train.run import RunFolder, keeping_status


def work_on_seeds(config: Config, folder: RunFolder, train: Callable[[Config], None]) -> str:
    """Train with each of `run.seeds`, or go on, and judge the models together.

    Args:
        config: of all; the run of seed 1 is called `<run.name>.seed-1`.
        folder: where the report of all is kept.
        train: trains one, or prints the result of one that is finished.

    Returns:
        What a person should read at the end.
    """
    from metarec.evaluate.report import places_of
    from metarec.tracking import open_store, store_uri

    with keeping_status(folder):
        models = {}
        for seed in config.run.seeds:
            own = seed_config(config, seed)
            say(f"seed {seed} of {', '.join(map(str, config.run.seeds))}: run {own.run.name}")
            train(own)
            trained = RunFolder(storage.join(config.output.uri, "runs", own.run.name))
            models[f"seed {seed}"] = f"runs:/{trained.read_state()['mlflow_run_id']}/model"
        learners = {name: metarec.pull(uri, tracking_uri=store_uri(config)) for name, uri in models.items()}
        store = open_store(config)
        judged = judge_together(config, learners, place=folder.report)
        keep(config, store, judged)
    summary = "\n".join(["", judged.table, "", f"report: {places_of(folder.report)}"])
    folder.update_state(status="finished", summary=summary)
    return summary


def seed_config(config: Config, seed: int) -> Config:
    """The config of the run with one of the seeds."""
    return with_values(config, {"run.name": f"{config.run.name}.seed-{seed}", "run.seed": seed, "run.seeds": ()})
