"""Lists the datasets that are loaded by name: addresses and checksums of their files, classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_TORONTO = "https://www.cs.toronto.edu/~kriz/"
_MNIST = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_FASHION = (
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)

_CIFAR10_CLASSES = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100_CLASSES = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus "
    "butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch "
    "crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo "
    "keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain "
    "mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain "
    "plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk "
    "skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone "
    "television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)


_FASHION_CLASSES = (
    "T-shirt/top, Trouser, Pullover, Dress, Coat, Sandal, Shirt, Sneaker, Bag, Ankle boot"
)


@dataclass(frozen=True)
class RemoteFile:
    """A file that a dataset is published in.

    Attributes:
        name: Its name, on the server and in the cache.
        urls: Its addresses, in the order of preference.
        md5: Its MD5, as published.
    """

    name: str
    urls: tuple[str, ...]
    md5: str


@dataclass(frozen=True)
class KnownDataset:
    """A dataset that is loaded by its name.

    Attributes:
        name: As in ``data: {name: ...}``.
        form: Format of its files: pickled batches like CIFAR, or IDX like MNIST.
        members: Names of the files with the training images, in order, and with the test images
            (for IDX, the images, then the labels).
        folder: Their folder inside the published archive.
        label_key: Key of the labels in a pickled batch.
        classes: Names of the classes, in the order of the labels.
        remote: The files to download.
    """

    name: str
    form: Literal["batches", "idx"]
    members: tuple[tuple[str, ...], tuple[str, ...]]
    folder: str
    classes: tuple[str, ...]
    remote: tuple[RemoteFile, ...]
    label_key: str = "labels"


def _archive(name: str, md5: str) -> tuple[RemoteFile, ...]:
    return (RemoteFile(name, (f"{_TORONTO}{name}",), md5),)


def _idx_files(addresses: tuple[str, ...], md5s: tuple[str, ...]) -> tuple[RemoteFile, ...]:
    names = (*_IDX_MEMBERS[0], *_IDX_MEMBERS[1])
    return tuple(
        RemoteFile(f"{name}.gz", tuple(f"{address}{name}.gz" for address in addresses), md5)
        for name, md5 in zip(names, md5s, strict=True)
    )


_IDX_MEMBERS = (
    ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)

# The MD5s are those of torchvision 0.2x (datasets/cifar.py, datasets/mnist.py); the first
# is also printed on https://www.cs.toronto.edu/~kriz/cifar.html.
KNOWN: dict[str, KnownDataset] = {
    "cifar10": KnownDataset(
        name="cifar10",
        form="batches",
        members=(tuple(f"data_batch_{number}" for number in range(1, 6)), ("test_batch",)),
        folder="cifar-10-batches-py",
        classes=tuple(_CIFAR10_CLASSES.split()),
        remote=_archive("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),
    ),
    "cifar100": KnownDataset(
        name="cifar100",
        form="batches",
        members=(("train",), ("test",)),
        folder="cifar-100-python",
        classes=tuple(_CIFAR100_CLASSES.split()),
        remote=_archive("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),
        label_key="fine_labels",
    ),
    "mnist": KnownDataset(
        name="mnist",
        form="idx",
        members=_IDX_MEMBERS,
        folder="MNIST/raw",
        classes=tuple(str(digit) for digit in range(10)),
        remote=_idx_files(
            _MNIST,
            (
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
        ),
    ),
    "fashion_mnist": KnownDataset(
        name="fashion_mnist",
        form="idx",
        members=_IDX_MEMBERS,
        folder="FashionMNIST/raw",
        classes=tuple(_FASHION_CLASSES.split(", ")),
        remote=_idx_files(
            _FASHION,
            (
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
        ),
    ),
}
