"""Decides which node of a cluster extracts the features of a frozen backbone; others copy them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from effv2_tune.study.recipe import caches_features

if TYPE_CHECKING:
    from collections.abc import Iterator

    from effv2_tune.study.recipe import Recipe
    from effv2_tune.workers.messages import Train


@dataclass(frozen=True)
class Send:
    """A trial is to be sent to its worker, which finds the features or extracts them."""

    worker: int
    message: Train


@dataclass(frozen=True)
class Copy:
    """Features are to be copied from the store of one worker to that of another.

    Attributes:
        features: Which ones.
        source: A worker of the store that has them.
        destination: One of the store that lacks them.
        stores: Of the two.
    """

    features: str
    source: int
    destination: int
    stores: tuple[str, str]


@dataclass
class _Features:
    """The features that some trials train on: stores that have them, and who wants them."""

    sources: dict[str, int] = field(default_factory=dict)
    extracting: int | None = None
    copying: set[str] = field(default_factory=set)
    held: dict[int, Train] = field(default_factory=dict)


class FeatureRelay:
    """Lets one worker extract what others train on, too; those of other stores get copies.

    A store is the cache folder of a node, which its workers share.
    """

    def __init__(self) -> None:
        self._stores: dict[int, str] = {}
        self._features: dict[str, _Features] = {}
        self._wanted: dict[int, str] = {}

    def hold(self, worker: int, store: str, message: Train) -> None:
        """Take a trial on features; :meth:`actions` has it once it may be sent.

        Args:
            worker: That is to train it.
            store: Of the worker's node.
            message: The trial.
        """
        name = features_of(message.recipe)
        self._stores[worker], self._wanted[worker] = store, name
        self._features.setdefault(name, _Features()).held[worker] = message

    def is_held(self, worker: int) -> bool:
        """Whether the trial of a worker waits for the features."""
        name = self._wanted.get(worker, "")
        return name in self._features and worker in self._features[name].held

    def take_found(self, worker: int) -> None:
        """A worker has begun to train: its store has the features."""
        if worker in self._wanted:
            found = self._features[self._wanted[worker]]
            found.sources[self._stores[worker]] = worker
            found.extracting = None if found.extracting == worker else found.extracting

    def take_copied(self, copy: Copy, *, succeeded: bool) -> None:
        """A copy has ended; where it failed, another store is tried, or they are extracted."""
        source, store = copy.stores
        features = self._features[copy.features]
        features.copying.discard(store)
        if succeeded:
            features.sources.setdefault(store, copy.destination)
        else:
            features.sources.pop(source, None)

    def leave(self, worker: int) -> None:
        """A worker has ended its trial or itself, or is asked to stop."""
        features = self._features.get(self._wanted.pop(worker, ""))
        if features is not None:
            features.held.pop(worker, None)
            features.extracting = None if features.extracting == worker else features.extracting

    def exit(self, worker: int) -> None:
        """A worker is gone, and nothing can be copied from it any more."""
        self.leave(worker)
        for features in self._features.values():
            for store in [one for one, source in features.sources.items() if source == worker]:
                del features.sources[store]

    def actions(self) -> Iterator[Send | Copy]:
        """What is to be done now, each once."""
        for name, features in self._features.items():
            for worker in list(features.held):
                store = self._stores[worker]
                if self._may_begin(features, store):
                    if not features.sources:
                        features.extracting = worker
                    yield Send(worker, features.held.pop(worker))
                elif features.sources and store not in features.copying:
                    features.copying.add(store)
                    there, source = next(iter(features.sources.items()))
                    yield Copy(name, source, worker, (there, store))

    def _may_begin(self, features: _Features, store: str) -> bool:
        """Whether a worker of a store finds the features there, or has to extract them."""
        if store in features.copying:
            return False
        if features.sources:
            return store in features.sources
        extracting = features.extracting
        # Of one store, one waits for the other at the lock of the features.
        return extracting is None or self._stores[extracting] == store


def features_of(recipe: Recipe) -> str:
    """What the features that trials of a recipe train on depend on; empty without features."""
    if not caches_features(recipe):
        return ""
    names = ("variant", "weights", "pixels", "resize", "precision", "flip", "evaluation_flip")
    return " ".join(f"{name}={getattr(recipe, name)}" for name in names)
