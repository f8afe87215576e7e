"""Which MLflow run a training goes on with."""

import torch
from torch import nn

from jobs.train import known_run
from metarec.config import load_config
from metarec.train.checkpoint import Progress
from metarec.train.run import RunFolder
from metarec.train.worker import checkpoints_of


def test_it_is_that_of_the_folder_or_else_of_the_newest_checkpoint_or_a_new_one(tmp_path):
    folder, config = RunFolder(str(tmp_path)), load_config()
    assert known_run(config, folder) is None
    folder.update_state(mlflow_run_id="0123")
    assert known_run(config, folder) == "0123"
    network = nn.Linear(1, 1)
    checkpoints_of(config, folder).save(network, torch.optim.AdamW(network.parameters()), Progress(1, 0.5, 1))
    (tmp_path / "run.json").unlink()
    assert known_run(config, folder) == "0123"
