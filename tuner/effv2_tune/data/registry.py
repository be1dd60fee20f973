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
    # The authors' repository: their own server has no TLS.
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
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
        sha256: Its SHA-256.
    """

    name: str
    urls: tuple[str, ...]
    sha256: str


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


def _archive(name: str, sha256: str) -> tuple[RemoteFile, ...]:
    return (RemoteFile(name, (f"{_TORONTO}{name}",), sha256),)


def _idx_files(addresses: tuple[str, ...], checksums: tuple[str, ...]) -> tuple[RemoteFile, ...]:
    names = (*_IDX_MEMBERS[0], *_IDX_MEMBERS[1])
    return tuple(
        RemoteFile(f"{name}.gz", tuple(f"{address}{name}.gz" for address in addresses), checksum)
        for name, checksum in zip(names, checksums, strict=True)
    )


_IDX_MEMBERS = (
    ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)

# The checksums of CIFAR are those of Keras 3 (datasets/cifar10.py, cifar100.py); those of MNIST and
# Fashion-MNIST are those of torchvision (prototype/datasets/_builtin/mnist.py, v0.12).
KNOWN: dict[str, KnownDataset] = {
    "cifar10": KnownDataset(
        name="cifar10",
        form="batches",
        members=(tuple(f"data_batch_{number}" for number in range(1, 6)), ("test_batch",)),
        folder="cifar-10-batches-py",
        classes=tuple(_CIFAR10_CLASSES.split()),
        remote=_archive(
            "cifar-10-python.tar.gz",
            "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        ),
    ),
    "cifar100": KnownDataset(
        name="cifar100",
        form="batches",
        members=(("train",), ("test",)),
        folder="cifar-100-python",
        classes=tuple(_CIFAR100_CLASSES.split()),
        remote=_archive(
            "cifar-100-python.tar.gz",
            "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        ),
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
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
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
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
        ),
    ),
}
