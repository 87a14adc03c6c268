"""What every verb of the service is given: the wiring of one server process, made once at its start."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from service.believing import Believed
from service.data.objects import ObjectFolder
from service.model_cache import ModelCache
from service.model_names import Named
from service.observing.counts import CallCounts
from service.observing.exposition import Family
from service.observing.tracing import Tracing
from service.settings import Settings
from service.store.database import Database
from service.tokens import Tokens
from service.webhooks.targets import Target


def _nobody_listens() -> None:
    """Stand in for the dispatcher where there is none: the sweep of any process finds new jobs too."""


@dataclass(frozen=True)
class App:
    """The parts of a server that verbs use."""

    settings: Settings
    database: Database
    objects: ObjectFolder
    # Called after the commit of a new or resumed job: the dispatcher sends tickets from its own thread.
    job_queued: Callable[[], None] = field(default=_nobody_listens)
    # Who can be told of a job's end, by name.
    webhooks: Mapping[str, Target] = field(default_factory=dict)
    models: ModelCache = field(init=False)
    tokens: Tokens = field(init=False)
    # What a caller's name of a model means, by the user's id and the name.
    names: Believed[tuple[str, str], Named] = field(default_factory=lambda: Believed(4096))
    # The calls of every door of this process, and the spans of them where there are some.
    counts: CallCounts = field(default_factory=CallCounts)
    tracing: Tracing | None = None
    # What the threads beside the doors tell of themselves at /metrics.
    tellers: Sequence[Callable[[], Sequence[Family]]] = ()

    def __post_init__(self) -> None:
        """Make what depends on the others."""
        object.__setattr__(self, "models", ModelCache(self.settings.model_cache_bytes))
        object.__setattr__(self, "tokens", Tokens(self.database))
