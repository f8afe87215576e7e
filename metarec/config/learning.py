"""Settings of what learns: the recommender, the algorithm, and its inner and outer loop."""

from dataclasses import dataclass
from typing import Literal

from metarec.config.check import require

LOSSES = ("squared", "absolute", "absolute_squared", "cross_entropy", "pairwise", "softmax")
"""The objectives that `inner.loss` and `outer.loss` name."""
RANKING_LOSSES = ("pairwise", "softmax")
"""Those of them whose scores tell an order and nothing else."""
MEMBER_SETTINGS = ("member_names", "member_algorithms", "member_leave_out", "member_residual", "member_trained")
"""Those of `ModelConfig` with an entry for each member of a committee."""
_Residual = Literal["bias", "item", "user", "none"]


@dataclass(frozen=True)
class ModelConfig:
    """The recommender."""

    name: str = "melu"
    """Its name in the registry of models."""
    embedding_width: int = 32
    """Width of each feature's embedding."""
    hidden: tuple[int, ...] = (64,)
    """Widths of the hidden layers, where the model has them."""
    direct: bool = True
    """melu, transformer: whether a linear path leads from the embeddings straight to the prediction as well."""
    dropout: float = 0.0
    """melu, mlp: the share of the last hidden layer's units that each training row is without."""
    interactions: tuple[int, ...] = (16, 16)
    """xdeepfm: feature maps of each layer of its compressed interaction network."""
    num_blocks: int = 2
    """transformer: blocks of attention and feed-forward layers."""
    num_attention_heads: int = 2
    """transformer: heads of each attention layer, each as wide as an embedding; its blocks are as wide as all heads."""
    tower: tuple[int, ...] = (16,)
    """multi_task: widths of the hidden layers of each head's own tower."""
    context_width: int = 0
    """Width of a context vector, an input of the model (CAVIA); where it starts is learned, from zero on; 0 = none."""
    head_weights: tuple[float, ...] = ()
    """What an error in each head counts, in the order of the heads; empty = 1 each."""
    warm_start_rank: int = 10
    """Dimensions of item id embeddings that start as those of a factor analysis; 0 = none, at most the width."""
    leave_out: str = ""
    """Fields that the model does not see: shell patterns over `user.` or `item.` and the field's name, between spaces.
    For new items `item.id` at least, of which nothing can be known."""
    residual: _Residual = "bias"
    """`bias`: predict what item bias and the user's own bias leave over, so that untrained it is the bias floor;
    `item`: what item bias alone leaves over, for algorithms that find the user's bias themselves;
    `user`: what the mean and the user's own bias leave over, for new items, which have no bias of their own;
    `none`: predict the target itself."""
    user_bias_damping: float = 5.0
    """With a user's bias: how many ratings at the mean are added before a user's bias is believed."""
    members: int = 1
    """Above 1 a committee: so many learners that differ in where they start, and the mean of what they predict."""
    member_names: tuple[str, ...] = ()
    """Of a committee: the recommender of each member, in place of `name`; with fewer entries than members they start
    again from the first. Members that are unlike each other err in different places."""
    member_algorithms: tuple[str, ...] = ()
    """Of a committee: the algorithm of each member, in place of `algorithm.name`; entries as in `member_names`."""
    member_leave_out: tuple[str, ...] = ()
    """Of a committee: what each member does not see, beside `leave_out`; entries as in `member_names`."""
    member_residual: tuple[_Residual, ...] = ()
    """Of a committee: what the predictions of each member start from, in place of `residual`; entries likewise."""
    member_trained: tuple[bool, ...] = ()
    """Of a committee: whether each member is meta-trained, as all are by default; one that is not stays as it starts,
    where `ridge` and `alpaca` are ridge regressions on the vectors of fields; entries likewise."""

    def __post_init__(self) -> None:
        for name in ("embedding_width", "num_blocks", "num_attention_heads", "members"):
            require(getattr(self, name) >= 1, f"model.{name}", getattr(self, name), "use 1 or more")
        for name in ("hidden", "interactions", "tower"):
            widths_are_positive = all(width >= 1 for width in getattr(self, name))
            require(widths_are_positive, f"model.{name}", list(getattr(self, name)), "use widths of 1 or more")
        for name in ("context_width", "warm_start_rank"):
            require(getattr(self, name) >= 0, f"model.{name}", getattr(self, name), "use 0 or more")
        for name, patterns in (("leave_out", self.leave_out), ("member_leave_out", " ".join(self.member_leave_out))):
            for pattern in patterns.split():
                sided = pattern.startswith(("user.", "item."))
                require(sided, f"model.{name}", pattern, "say whose field it is, as in item.id or user.zip")
        for name in MEMBER_SETTINGS:
            fewest, expected = len(getattr(self, name)), f"use 1 for each entry of model.{name} at least"
            require(self.members >= fewest, "model.members", self.members, expected)
        all_stay = self.member_trained != () and not any(self.member_trained[: self.members])
        require(not all_stay, "model.member_trained", list(self.member_trained), "let one member be trained at least")
        require(0.0 <= self.dropout < 1.0, "model.dropout", self.dropout, "use a share of 0 or more and below 1")
        require(len(self.interactions) > 0, "model.interactions", [], "name the maps of at least one layer")
        weights_are_positive = all(weight > 0 for weight in self.head_weights)
        require(weights_are_positive, "model.head_weights", list(self.head_weights), "use weights above 0")
        require(self.user_bias_damping > 0, "model.user_bias_damping", self.user_bias_damping, "use more than 0")


@dataclass(frozen=True)
class AlgorithmConfig:
    """The meta-learning algorithm."""

    name: str = "maml"
    """Its name in the registry of algorithms."""
    adapt: str = "*"
    """Which parameters a task adapts: shell patterns over their names, between spaces; embedding tables (row by row)
    only where a pattern starts with `encoder.`."""
    first_order: bool = False
    """maml, meta_sgd, learned_mask: whether the meta-gradient leaves out the derivative of the inner gradient."""
    first_order_share: float = 0.0
    """maml: the share of the run, from its start, that is first order in any case (MAML++)."""
    multi_step_share: float = 0.0
    """maml: the share of the run, from its start, in which the query loss after every inner step counts (MAML++)."""
    recompute: bool = False
    """maml: whether the way back computes inner steps again, so that memory does not grow with them (time does, with
    their square; the loss after every step still keeps them)."""
    proximal: float = 1.0
    """imaml: strength of the pull that keeps a task's weights near the initialisation."""
    cg_steps: int = 10
    """imaml: conjugate gradient steps that solve for the implicit meta-gradient."""
    ridge: float = 10.0
    """ridge, alpaca: the penalty λ that the closed-form head starts from; it is learned, by alpaca for each input."""
    implicit: bool = True
    """alpaca: whether which items a user rated shifts the prior; it cost where test items are newer than all others."""
    full_context: bool = False
    """matching: whether support and query embeddings are refined in the light of the whole support."""
    latent_width: int = 32
    """neural_process: width of what it keeps of a task's support; alpaca: of its decision's hidden layer."""

    def __post_init__(self) -> None:
        require(self.adapt.strip() != "", "algorithm.adapt", self.adapt, "name at least one pattern, such as '*'")
        for name in ("first_order_share", "multi_step_share"):
            share = getattr(self, name)
            require(0.0 <= share <= 1.0, f"algorithm.{name}", share, "use a share between 0 and 1")
        for name in ("proximal", "ridge"):
            require(getattr(self, name) > 0, f"algorithm.{name}", getattr(self, name), "use a number above 0")
        for name in ("cg_steps", "latent_width"):
            require(getattr(self, name) >= 1, f"algorithm.{name}", getattr(self, name), "use 1 or more")


@dataclass(frozen=True)
class InnerConfig:
    """Adaptation to one task."""

    lr: float = 0.5
    """Learning rate of the inner steps; where `learned`, the rate they start from."""
    steps: int = 3
    """Number of inner gradient steps."""
    loss: str = "squared"
    """What the inner steps lower on the support; the same choices as `outer.loss`."""
    damping: float = 40.0
    """Ratings without an error that are added to the support loss, so that few ratings move a user less than many."""
    batch_size: int = 0
    """Support ratings of each inner step, drawn at random; 0 = all of them."""
    learned: bool = True
    """maml, learned_mask: whether the outer loop learns an inner rate for each adapted tensor and step (MAML++,
    Antoniou 2019). meta_sgd always learns one for each weight; no other algorithm learns its rates."""

    def __post_init__(self) -> None:
        require(self.lr > 0, "inner.lr", self.lr, "use a number above 0")
        require(self.steps >= 1, "inner.steps", self.steps, "use 1 or more")
        require_losses("inner.loss", self.loss)
        require(self.damping >= 0, "inner.damping", self.damping, "use 0 or more")
        require(self.batch_size >= 0, "inner.batch_size", self.batch_size, "use 0 or more")


@dataclass(frozen=True)
class OuterConfig:
    """Meta-training."""

    lr: float = 0.003
    """Learning rate of the outer optimiser (AdamW)."""
    loss: str = "absolute"
    """What meta-training lowers on the query: `absolute` aims at MAE, `squared` at RMSE,
    `absolute_squared` at both, `cross_entropy` at events, `pairwise` and `softmax` at the order of a task's rows. One
    name, or one for each head between spaces."""
    squared_weight: float = 2.0
    """absolute_squared: what the square of an error counts beside its absolute value."""
    weight_decay: float = 0.0
    """Decoupled weight decay of the outer optimiser."""
    frozen: str = ""
    """Which of the recommender's parameters stay as they start: patterns as those of `algorithm.adapt`; empty = none.
    Item vectors of a warm start (`encoder.items.*`) may be better than what more training makes of them."""
    epochs: int = 12
    """How often every training user is visited."""
    decay: Literal["cosine", "constant"] = "cosine"
    """`cosine`: the outer rate falls to 0 over the run; `constant`: it stays."""
    clip: float = 10.0
    """The norm to which a longer meta-gradient is cut."""

    def __post_init__(self) -> None:
        require(self.lr > 0, "outer.lr", self.lr, "use a number above 0")
        require_losses("outer.loss", self.loss)
        require(self.squared_weight > 0, "outer.squared_weight", self.squared_weight, "use a number above 0")
        require(self.weight_decay >= 0, "outer.weight_decay", self.weight_decay, "use 0 or more")
        require(self.epochs >= 1, "outer.epochs", self.epochs, "use 1 or more")
        require(self.clip > 0, "outer.clip", self.clip, "use a number above 0")


def require_losses(name: str, text: str) -> None:
    """Refuse a setting that names an objective there is none of, or none at all."""
    known = text.split() != [] and all(loss in LOSSES for loss in text.split())
    require(known, name, text, f"use one of {', '.join(LOSSES)}, or one for each head between spaces")
