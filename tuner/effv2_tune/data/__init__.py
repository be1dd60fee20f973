"""Loads datasets as uint8 images, and splits them."""

from effv2_tune.data.class_weights import class_weights
from effv2_tune.data.dataset import Dataset, Split
from effv2_tune.data.load import check_dataset, load_dataset
from effv2_tune.data.progress import OnProgress, Progress
from effv2_tune.data.summary import ClassCount, Summary, describe

__all__ = [
    "ClassCount",
    "Dataset",
    "OnProgress",
    "Progress",
    "Split",
    "Summary",
    "check_dataset",
    "class_weights",
    "describe",
    "load_dataset",
]
