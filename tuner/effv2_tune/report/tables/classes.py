"""Tabulates precision and recall of each class, and the most confused pairs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class ClassRow:
    """The test images of a class, and those that were predicted as it.

    Attributes:
        name: Of the class.
        images: Of the class.
        predicted: As the class, whichever they are of.
        correct: Of the class, and predicted as it.
    """

    name: str
    images: int
    predicted: int
    correct: int

    @property
    def precision(self) -> float | None:
        """The share of the images predicted as the class that are of it; None without any."""
        return self.correct / self.predicted if self.predicted else None

    @property
    def recall(self) -> float | None:
        """The share of the images of the class that were predicted as it; None without any."""
        return self.correct / self.images if self.images else None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of precision and recall; None where neither is defined."""
        both = self.images + self.predicted
        return 2 * self.correct / both if both else None


@dataclass(frozen=True)
class ConfusedPair:
    """Images of one class that were predicted as another one.

    Attributes:
        actual: Name of their class.
        predicted: Name of the other one.
        images: How many.
        share: Of all images of their class.
    """

    actual: str
    predicted: str
    images: int
    share: float


class Confusion:
    """The confusion matrix of the test images.

    Args:
        counts: Images by the positions of their class and of the predicted one in ``classes``.
        classes: Their names.

    Attributes:
        classes: As given.
        images: How many there are.
    """

    def __init__(self, counts: Mapping[tuple[int, int], int], classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self._counts = {pair: images for pair, images in counts.items() if images}
        self.images = sum(self._counts.values())
        self._actual: Counter[int] = Counter()
        self._predicted: Counter[int] = Counter()
        for (actual, predicted), images in self._counts.items():
            self._actual[actual] += images
            self._predicted[predicted] += images

    @property
    def mistakes(self) -> int:
        """Images that were predicted as another class."""
        return self.images - sum(self._counts.get((one, one), 0) for one in self._actual)

    def rows(self) -> list[ClassRow]:
        """A row for each class, in order."""
        return [
            ClassRow(
                name,
                self._actual[number],
                self._predicted[number],
                self._counts.get((number, number), 0),
            )
            for number, name in enumerate(self.classes)
        ]

    def pairs(self, most: int) -> list[ConfusedPair]:
        """The pairs with most confused images, then with the greatest share; at most so many."""
        pairs = [
            ConfusedPair(
                self.classes[actual], self.classes[predicted], images, images / self._actual[actual]
            )
            for (actual, predicted), images in sorted(self._counts.items())
            if actual != predicted
        ]
        return sorted(pairs, key=lambda pair: (-pair.images, -pair.share))[:most]

    def matrix(self) -> list[list[int]]:
        """[class, predicted class]."""
        numbers = range(len(self.classes))
        return [
            [self._counts.get((actual, predicted), 0) for predicted in numbers]
            for actual in numbers
        ]
