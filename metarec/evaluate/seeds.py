"""Several seeds of one method as one predictor, so that luck in training is averaged over like luck in drawing."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from metarec.evaluate.evaluation import Evaluation


def with_mean_of(evaluation: Evaluation, members: Sequence[str], name: str) -> Evaluation:
    """The same evaluation with one more predictor at its end: the mean over some of those it has.

    A user's value is the mean of her values under the members, and of RMSE the rounds are those of all members: what
    the new row shows is the mean of what the members' rows show. Seconds are means as well.

    Args:
        evaluation: of all members, on the same tasks.
        members: the predictors, at least one.
        name: of the new one.
    """
    assert members
    places = [evaluation.predictors.index(member) for member in members]
    training = [evaluation.training_seconds.get(member) for member in members]
    known = [seconds for seconds in training if seconds is not None]
    return dataclasses.replace(
        evaluation,
        predictors=(*evaluation.predictors, name),
        seconds={**evaluation.seconds, name: float(np.mean([evaluation.seconds[member] for member in members]))},
        training_seconds={**evaluation.training_seconds, **({name: float(np.mean(known))} if known else {})},
        user_values=_appended(evaluation.user_values, evaluation.user_values[places].mean(axis=0)),
        squared_errors=(
            *evaluation.squared_errors,
            np.concatenate([evaluation.squared_errors[place] for place in places], axis=1),
        ),
        coverage=_appended(evaluation.coverage, evaluation.coverage[places].mean(axis=0)),
    )


def _appended(values: Float64[np.ndarray, "..."], last: Float64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
    return np.concatenate([values, last[None]])
