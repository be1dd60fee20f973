"""Predicts the classes of image files with a trained model."""

from __future__ import annotations

import csv
import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from effv2_tune.errors import TuneError, joined
from effv2_tune.host import choose_hardware, probe_host, probe_packages
from effv2_tune.session.models.framework_output import hidden_unless_it_fails
from effv2_tune.session.models.location import find_images, locate_model, unreadable_error
from effv2_tune.session.training import set_backend
from effv2_tune.study.model_facts import ModelFacts, read_facts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import Literal

    import numpy as np
    import numpy.typing as npt

    from effv2_tune.data.dataset import Images
    from effv2_tune.data.decode import UnreadableImageError

#: Classes of each image, unless the user says otherwise.
_SHOWN = 5
_BATCH = 32


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of an image.

    Attributes:
        path: The image file, as the user named it.
        classes: Names with probabilities from 0 to 1, the most probable first.
    """

    path: Path
    classes: tuple[tuple[str, float], ...]

    def plain(self) -> dict[str, Any]:
        """The prediction as JSON."""
        found = [{"class": name, "probability": share} for name, share in self.classes]
        return {"image": str(self.path), "predictions": found}

    def text(self) -> str:
        """The prediction as lines for a terminal."""
        lines = [f"  {share:.4f}  {name}" for name, share in self.classes]
        return "\n".join([str(self.path), *lines])

    def csv_line(self) -> str:
        """The prediction as a line of CSV, without a line break."""
        cells = (cell for name, share in self.classes for cell in (name, f"{share:.6f}"))
        return _csv_line([str(self.path), *cells])


class PredictionSession:
    """A trained model and images for it, all of which exist.

    Args:
        model: A ``.keras`` file of a final training.
        facts: Those in the file.
        images: The image files.
        top: Classes of each image.
    """

    def __init__(self, model: Path, facts: ModelFacts, images: Sequence[Path], top: int) -> None:
        self._model = model
        self._facts = facts
        self._images = images
        self._top = top
        self._unreadable: list[UnreadableImageError] = []

    @classmethod
    def load(
        cls, model: Path, images: Sequence[Path], *, top: int | None = None
    ) -> PredictionSession:
        """Check a model and images for it, without a framework.

        Args:
            model: A ``.keras`` file, or the folder of its training.
            images: Image files, and folders of them.
            top: Classes of each image; five, or all if the model has fewer, if left out.

        Raises:
            TuneError: With everything that is wrong.
        """
        errors: list[TuneError] = []
        facts, found, path = None, [], locate_model(model)
        try:
            facts = read_facts(path)
            _check_top(top, facts, path)
        except TuneError as error:
            errors.append(error)
        try:
            found = find_images(images)
        except TuneError as error:
            errors.append(error)
        if facts is None or errors:
            raise joined(errors)
        return cls(path, facts, found, min(_SHOWN, len(facts.classes)) if top is None else top)

    def header(self) -> str:
        """The first line of the CSV of all predictions."""
        names = ((f"class_{rank}", f"probability_{rank}") for rank in range(1, self._top + 1))
        return _csv_line(["image", *(name for pair in names for name in pair)])

    def run(self, hardware: Literal["auto", "cpu", "gpu", "tpu"] = "cpu") -> Iterator[Prediction]:
        """Yield the prediction of each image that can be decoded, in order.

        Each is prepared as the images of the training were: turned upright by its Exif orientation,
        then made to fit the stored size.

        Args:
            hardware: The kind of device to use.

        Raises:
            TuneError: The device cannot be used; or, at the end, images could not be decoded.
        """
        chosen = choose_hardware(hardware, "auto", probe_host(), probe_packages())
        set_backend(chosen)
        model: Any = None
        for paths, images in self._batches():
            with hidden_unless_it_fails():
                if model is None:  # after the first images, whose errors need no framework
                    model = _loaded(self._model)
                predicted = model.predict_on_batch(images)
            for path, shares in zip(paths, predicted, strict=True):
                yield Prediction(path, self._most_probable(shares))
        if self._unreadable:
            raise unreadable_error(self._unreadable)

    def _most_probable(self, shares: npt.NDArray[np.float32]) -> tuple[tuple[str, float], ...]:
        """The names and probabilities of the first classes; of equal ones in the model's order."""
        order = (-shares).argsort(kind="stable")[: self._top]
        return tuple((self._facts.classes[position], float(shares[position])) for position in order)

    def _batches(self) -> Iterator[tuple[list[Path], Images]]:
        """The decoded images, uint8 [batch, height, width, 3], with their files."""
        import numpy as np

        with ThreadPoolExecutor() as threads:
            for start in range(0, len(self._images), _BATCH):
                paths = self._images[start : start + _BATCH]
                decoded = list(zip(paths, threads.map(self._decoded, paths), strict=True))
                pairs = [(path, image) for path, image in decoded if image is not None]
                if pairs:
                    yield [path for path, _ in pairs], np.stack([image for _, image in pairs])

    def _decoded(self, path: Path) -> Images | None:
        from effv2_tune.data.decode import UnreadableImageError, decode_to

        height, width, _ = self._facts.image_shape
        try:
            return decode_to(path, (width, height), self._facts.fit)
        except UnreadableImageError as error:
            self._unreadable.append(error)
            return None


def _check_top(top: int | None, facts: ModelFacts, model: Path) -> None:
    count = len(facts.classes)
    if top is not None and top > count:
        raise TuneError(
            f"--top {top} exceeds the {count} classes of {model}.", hint=f"Use at most {count}."
        )


def _loaded(model: Path) -> Any:
    import keras

    return keras.saving.load_model(model, compile=False)


def _csv_line(cells: Sequence[str]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()
