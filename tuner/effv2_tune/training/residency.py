"""Decides which compiled buckets, images and features stay on the device."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from effv2_tune.training import process_memory
from effv2_tune.training.inputs.pipeline import image_sources

if TYPE_CHECKING:
    from effv2_tune.data import Dataset
    from effv2_tune.training.backends.base import Backend
    from effv2_tune.training.compiled import CompiledBucket
    from effv2_tune.training.features.feature_set import FeatureSet
    from effv2_tune.training.inputs.pipeline import DeviceData


class DeviceResidency:
    """What training keeps between trials.

    Args:
        dataset: The images.
        backend: On the device.
        limit: Bytes of images, and of features, that may be resident on the device.

    Attributes:
        buckets: By the digest of their key, the least recently used first.
    """

    def __init__(self, dataset: Dataset, backend: Backend, limit: int) -> None:
        self._dataset = dataset
        self._backend = backend
        self._limit = limit
        self._images: DeviceData | None = None
        self.buckets: OrderedDict[str, CompiledBucket] = OrderedDict()

    def images(self) -> DeviceData:
        """The images, placed when they are first needed: with cached features they never are."""
        if self._images is None:
            self._images = self._backend.place(image_sources(self._dataset), self._limit)
        return self._images

    def place(self, features: FeatureSet) -> None:
        """Place the splits of a feature set that are not on the device yet.

        Images are released, and older buckets evicted until the features fit.
        """
        self.release_images()
        if not features.device_data:
            self._evict_for(features.nbytes)
        sources = {
            name: source
            for name, source in features.sources.items()
            if name not in features.device_data
        }
        if sources:
            features.device_data |= self._backend.place(sources, self._limit)

    def release_images(self) -> None:
        """Release the images, unless a bucket trains on them."""
        if all(bucket.features is not None for bucket in self.buckets.values()):
            self._images = None

    def evict_above(self, resident_bytes: float) -> None:
        """Evict the least recently used buckets while the process has more resident memory."""
        while self.buckets and process_memory.resident_bytes() > resident_bytes:
            self._evict_oldest()

    def evict_all(self) -> None:
        """Evict every bucket."""
        self.buckets.clear()
        process_memory.return_freed_memory()

    def _evict_for(self, nbytes: int) -> None:
        """Evict buckets until the features of the others leave ``nbytes`` of the limit.

        Features above the limit are streamed, and need none of it.
        """
        while self.buckets and nbytes <= self._limit:
            feature_sets = [bucket.features for bucket in self.buckets.values()]
            resident = {
                id(features): features.nbytes
                for features in feature_sets
                if features is not None and features.nbytes <= self._limit
            }
            if sum(resident.values()) + nbytes <= self._limit:
                return
            self._evict_oldest()

    def _evict_oldest(self) -> None:
        self.buckets.popitem(last=False)
        process_memory.return_freed_memory()
