"""Loads datasets as uint8 images, and splits them."""

from effv2_tune.data.class_weights import class_weights
from effv2_tune.data.dataset import Dataset, Split
from effv2_tune.data.load import check_dataset, load_dataset
from effv2_tune.data.summary import describe

__all__ = ["Dataset", "Split", "check_dataset", "class_weights", "describe", "load_dataset"]
