"""All settings of a job together, and what they must have in common."""

from dataclasses import dataclass, field
from pathlib import Path

from metarec.config.check import refuse_password, require
from metarec.config.learning import RANKING_LOSSES, AlgorithmConfig, InnerConfig, ModelConfig, OuterConfig
from metarec.config.ratings import DataConfig, ProtocolConfig, SyntheticConfig, TablesConfig, TaskConfig
from metarec.config.running import (
    EvaluateConfig,
    OutputConfig,
    RegistryConfig,
    RunConfig,
    SearchConfig,
    TrackingConfig,
    TrainConfig,
)
from metarec.schema import ID, ITEM_TASKS, SCENARIO_TRANSFER, TaskWords


@dataclass(frozen=True)
class Config:
    """All settings of a job, one attribute per TOML table."""

    run: RunConfig = field(default_factory=RunConfig)
    data: DataConfig = field(default_factory=DataConfig)
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)
    tables: TablesConfig = field(default_factory=TablesConfig)
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    algorithm: AlgorithmConfig = field(default_factory=AlgorithmConfig)
    inner: InnerConfig = field(default_factory=InnerConfig)
    outer: OuterConfig = field(default_factory=OuterConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    registry: RegistryConfig = field(default_factory=RegistryConfig)

    def __post_init__(self) -> None:
        needed = self.task.num_query + 1
        require(
            self.data.min_ratings >= needed,
            "data.min_ratings",
            self.data.min_ratings,
            f"a task needs task.num_query ({self.task.num_query}) query ratings and 1 support rating: use {needed} "
            "or more, or lower task.num_query",
        )
        require(
            self.protocol.max_ratings == 0 or self.protocol.max_ratings >= self.data.min_ratings,
            "protocol.max_ratings",
            self.protocol.max_ratings,
            f"use data.min_ratings ({self.data.min_ratings}) or more, or 0",
        )
        self._require_something_to_learn()
        self._require_what_a_task_is_of()
        self._require_a_name_that_can_be_registered()
        for table, settings in vars(self).items():
            for key, value in vars(settings).items():
                if isinstance(value, str):
                    refuse_password(f"{table}.{key}", value)
        require(
            not self.learns_an_order or self.evaluate.primary == "ndcg@5",
            "evaluate.primary",
            self.evaluate.primary,
            f"outer.loss {self.outer.loss!r} learns an order, whose scores have no error: use ndcg@5",
        )

    def _require_something_to_learn(self) -> None:
        """Negatives go with events, and what tells rows apart goes with negatives."""
        num_negatives = self.task.num_negatives
        require(
            self.has_events or num_negatives == 0,
            "task.num_negatives",
            num_negatives,
            "the ratings say themselves what a user does not like: use 0, or plain events (data.source = 'tables', "
            "tables.rating = '')",
        )
        require(
            num_negatives == 0 or self.protocol.name not in ("item_cold", "user_and_item_cold"),
            "task.num_negatives",
            num_negatives,
            f"negatives are items with training events, which no query item of {self.protocol.name} is: use 0",
        )
        for name in ("inner", "outer"):
            loss = getattr(self, name).loss.split()[0]
            require(
                not self.has_events or num_negatives > 0 or loss not in ("cross_entropy", *RANKING_LOSSES),
                f"{name}.loss",
                loss,
                "it learns to tell 1 from 0, and plain events are all 1: set task.num_negatives to 1 or more",
            )

    def _require_what_a_task_is_of(self) -> None:
        """Scenario transfer needs a scenario of each rating; a field of the rated side is taken by its ids."""
        name, tables = self.protocol.name, self.data.source == "tables"
        require(
            name != SCENARIO_TRANSFER or self.data.source == "synthetic" or (tables and self.tables.scenario != ""),
            "protocol.name",
            name,
            "each rating needs a scenario: set tables.scenario to a column"
            if tables
            else f"the ratings of {self.data.source} have no scenario: use tables with a column tables.scenario",
        )
        kind = self.tables.user_features.get(ID) if name == ITEM_TASKS and tables else None
        require(kind is None, f"tables.user_features.{ID}", kind, "in item tasks the raters' own field is called so")

    def _require_a_name_that_can_be_registered(self) -> None:
        """MLflow takes neither '/' nor ':', and what stands around a name in a URI or a filter is no part of it."""
        name = self.model_name
        require(
            name.strip(" .") != "" and not set(name) & set("/:@'"),
            "registry.model",
            name,
            "use a name without '/', ':', '@' and \"'\""
            + ("" if self.registry.model else "; this one comes from the folder that data.path names"),
        )

    @property
    def words(self) -> TaskWords:
        """What tasks are of and what their rows are, for what a person reads."""
        return TaskWords.of(self.protocol.name)

    @property
    def in_time(self) -> bool:
        """Whether the support of a task is what came first: of item tasks, where ratings have times."""
        return self.protocol.name == ITEM_TASKS and (self.data.source != "tables" or self.tables.timestamp != "")

    @property
    def has_events(self) -> bool:
        """Whether the first head is plain events, each of which counts as 1."""
        return self.data.source == "tables" and not self.tables.rating

    @property
    def learns_an_order(self) -> bool:
        """Whether scores of the first head are trained to tell an order, and are no predictions of its targets."""
        return self.outer.loss.split()[0] in RANKING_LOSSES

    @property
    def dataset_name(self) -> str:
        """The name of the dataset in paths and in the registry: `synthetic`, `ml-100k`, `ml-1m`, or the folder's."""
        names = {"synthetic": "synthetic", "movielens-100k": "ml-100k", "movielens-1m": "ml-1m"}
        return names.get(self.data.source) or Path(self.data.path).name or "tables"

    @property
    def learner_name(self) -> str:
        """What the learner is called in tables: the algorithm on the recommender, or those of a committee."""
        algorithms, recommenders = (" + ".join(dict.fromkeys(names)) for names in (self.algorithms, self.recommenders))
        return f"{algorithms} on {recommenders}"

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The name of the learner's algorithm, or those that the members of a committee have in turn."""
        return self.model.member_algorithms or (self.algorithm.name,)

    @property
    def recommenders(self) -> tuple[str, ...]:
        """The name of the learner's recommender, or those that the members of a committee have in turn."""
        return self.model.member_names or (self.model.name,)

    @property
    def model_name(self) -> str:
        """The registered model's name in force; models that recommend users for an item have one of their own."""
        ending = "-item-tasks" if self.protocol.name == ITEM_TASKS else ""
        return self.registry.model or f"metarec-{self.dataset_name}{ending}"
