"""Loads datasets as uint8 images, and splits them."""

from effv2_tune.data.class_weights import class_weights
from effv2_tune.data.dataset import Dataset, Split
from effv2_tune.data.load import (
    ImageCounts,
    check_dataset,
    count_images,
    load_dataset,
    missing_downloads,
)
from effv2_tune.data.summary import describe

__all__ = [
    "Dataset",
    "ImageCounts",
    "Split",
    "check_dataset",
    "class_weights",
    "count_images",
    "describe",
    "load_dataset",
    "missing_downloads",
]
