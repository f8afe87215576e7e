"""Which recommender, algorithm and objective make sense together; what does not is refused with the reason."""

from metarec.config import RANKING_LOSSES, Config, ModelConfig
from metarec.contracts import Algorithm
from metarec.errors import ConfigError
from metarec.models.derivatives import operation_without_second_derivative
from metarec.models.network import Network
from metarec.models.recommender import FieldRecommender


def require_numbers(config: Config, algorithm: Algorithm) -> None:
    """Refuse cross entropy with an algorithm that predicts from the targets of the support as numbers.

    Raises:
        ConfigError: `outer.loss` or `inner.loss` names it.
    """
    for name, losses in (("outer.loss", config.outer.loss), ("inner.loss", config.inner.loss)):
        if algorithm.capabilities.regresses and "cross_entropy" in losses.split():
            raise ConfigError(
                f"{name} is {losses!r}, but {config.algorithm.name} predicts from the support's targets as numbers, "
                "so that its scores are no logits; use squared or absolute, or another algorithm.name"
            )


def require_one_meaning(config: Config, algorithm: Algorithm) -> None:
    """Refuse scores that are trained as one thing and reported as another, where the inner objective trains them.

    Raises:
        ConfigError: `inner.loss` gives the scores of a head another meaning than `outer.loss` reads from them.
    """
    inner, outer = config.inner.loss.split(), config.outer.loss.split()
    num_heads = max(len(inner), len(outer))
    for trained, reported in zip(inner * (num_heads // len(inner)), outer * (num_heads // len(outer)), strict=True):
        read = _meaning(reported)
        if algorithm.capabilities.trains_inner and read not in ("an order", _meaning(trained)):
            raise ConfigError(
                f"inner.loss is {trained!r} and outer.loss {reported!r}, but {config.algorithm.name} trains inner.loss "
                f"alone, which makes scores {_meaning(trained)}, not {read}; set inner.loss to {reported!r} too"
            )


def _meaning(loss: str) -> str:
    if loss in RANKING_LOSSES:
        return "an order"
    return "logits" if loss == "cross_entropy" else "numbers"


def require_place_for_context(config: Config, network: Network) -> None:
    """Refuse a context vector that the network has no hidden layers for.

    Raises:
        ConfigError: `model.context_width` is above 0 and the network takes no context vector.
    """
    settings = config.model
    if settings.context_width and not network.takes_context:
        raise ConfigError(
            f"model.context_width is {settings.context_width}, but the network of {settings.name} has no hidden layer "
            "that takes a context vector in; set model.context_width to 0, or use a model.name with hidden layers and "
            "give model.hidden their widths"
        )


def wide_enough_to_normalise(settings: ModelConfig) -> int:
    """The width of a Transformer's blocks, of which each attention head has as much as an embedding.

    Raises:
        ConfigError: layer normalisation would leave nothing of vectors so short: 0 of one number, a sign of two.
    """
    width = settings.embedding_width * settings.num_attention_heads
    if width < 3:
        raise ConfigError(
            f"model.embedding_width is {settings.embedding_width} and model.num_attention_heads is "
            f"{settings.num_attention_heads}; the blocks of {settings.name} are as wide as their product, "
            "which must be 3 or more"
        )
    return width


def require_the_same_units(config: Config) -> None:
    """Refuse dropout where inner steps are computed again on the way back, which would leave out other units.

    Raises:
        ConfigError: `model.dropout` is above 0 with `algorithm.recompute`.
    """
    if config.model.dropout and config.algorithm.recompute:
        raise ConfigError(
            f"model.dropout is {config.model.dropout}, but algorithm.recompute computes inner steps a second time and "
            "would leave out other units; set one of them to 0 or false"
        )


def require_second_derivatives(config: Config, tiny: FieldRecommender, num_heads: int) -> None:
    """Refuse a recommender that cannot be differentiated twice, for an algorithm that has to.

    Args:
        config: names both.
        tiny: such a recommender, built for `tiny_schema`; it is spent.
        num_heads: how many things it predicts.

    Raises:
        ConfigError: an operation of the recommender has no second derivative or a wrong one.
    """
    operation = operation_without_second_derivative(tiny, num_heads)
    if operation is not None:
        raise ConfigError(
            f"model.name is {config.model.name!r}, whose operation {operation} has no second derivative or a wrong one "
            f"under torch.func, but {config.algorithm.name} needs it; "
            "use another model.name, or maml with algorithm.first_order=true"
        )
