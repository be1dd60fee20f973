"""Defines the recipe: all settings of a training run, with every default filled in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from effv2_tune import catalog
from effv2_tune.errors import TuneError
from effv2_tune.study.base import Value
from effv2_tune.study.limits import MAX_BATCH, MAX_EPOCHS, MAX_FOLDS, MAX_PIXELS, PathText

if TYPE_CHECKING:
    from collections.abc import Mapping

Quality = Literal["accuracy", "balanced_accuracy", "macro_f1", "top5", "loss"]
Fraction = Annotated[float, Field(ge=0, le=1)]
#: A count of images, or a fraction of them.
Share = Annotated[int, Field(gt=0)] | Annotated[float, Field(gt=0, lt=1)]

NATIVE = "native"
WEIGHT_SUFFIXES = (".h5", ".hdf5", ".keras")


def quality_direction(quality: Quality) -> Literal["maximize", "minimize"]:
    """The optimization direction: minimize the loss, maximize everything else."""
    return "minimize" if quality == "loss" else "maximize"


class DataSpec(Value):
    """Which images, and how they are split.

    Attributes:
        name: The kind of dataset.
        path: File or folder for the kinds that need one; relative to the study file.
        train: How many training images to use, as a count or a fraction; by default all that the
            other splits do not use. With ``folds``, of all folds together.
        validation: Size of the validation split, as a count or a fraction of the training images;
            by default 0.1, or the validation images that come with the dataset.
        folds: Cross-validation for small datasets: each config is trained so often, each time with
            another fold of the training images as its validation split, and its quality is that
            over the images of all folds, each scored by the training that did not see it. Null
            for one training and one validation split.
        test: Size of the test split, as a count or a fraction of all images; by default the test
            images that come with the dataset, or one fifth of the digits.
        stratify: Whether each split has the classes in the same proportions.
        split_seed: Seed of the split (scikit-learn's ``random_state``).
        fit: How a non-square image is made square.
        storage_size: Side in pixels at which images are stored. By default, square images of one
            size are stored unchanged, and others at the largest resolution of the study.
        columns: Names of the columns of a ``csv``: path, label, split, group.
    """

    name: Literal[
        "digits", "npz", "cifar10", "cifar100", "fashion_mnist", "mnist", "folder", "csv"
    ] = "digits"
    path: PathText | None = None
    train: Share | None = None
    validation: Share | None = None
    folds: Annotated[int, Field(ge=2, le=MAX_FOLDS)] | None = None
    test: Share | None = None
    stratify: bool = True
    split_seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    fit: Literal["crop", "pad", "squash"] = "crop"
    storage_size: Annotated[int, Field(ge=8, le=MAX_PIXELS)] | None = None
    columns: dict[Literal["path", "label", "split", "group"], str] | None = None

    @model_validator(mode="after")
    def _names_its_files(self) -> DataSpec:
        if self.name in ("npz", "folder", "csv") and self.path is None:
            raise ValueError(f"data of kind {self.name!r} needs 'path:', the file or folder")
        if self.name == "digits" and self.path is not None:
            raise ValueError("the digits come with scikit-learn; remove 'path:'")
        if self.name != "csv" and self.columns is not None:
            raise ValueError(f"data of kind {self.name!r} has no columns; remove 'columns:'")
        if self.folds is not None and self.validation is not None:
            raise ValueError(
                "with 'folds:', each fold is the validation split of one training; remove "
                "'validation:'"
            )
        return self


class PerDevice(Value):
    """A batch size that grows with the number of devices."""

    per_device: Annotated[int, Field(ge=1, le=MAX_BATCH)]


class Settings(Value):
    """Every hyperparameter of a training run; each number or choice can be searched.

    Learning rates are per optimizer step. The schedule cycles as in Smith, "Cyclical Learning
    Rates for Training Neural Networks" (arXiv 1506.01186), section 3. The bounds of optimizer
    hyperparameters are those of ``optimizers.checks``, which has its own table: its optimizers work
    without a recipe, and it compares values as float32; a test compares the two.

    Attributes:
        variant: The network: b0, b1, b2, b3, t, s, m, l or xl.
        resolution: Side in pixels to which images are resized inside the step; ``native`` is the
            resolution at which the variant was evaluated on ImageNet.
        resize: Interpolation of the resize.
        backbone: ``scratch`` trains all weights from random initialization, ``finetune`` all
            weights from pretrained ones, ``frozen`` only the classifier head.
        weights: ``none``, a released set (imagenet, imagenet21k, imagenet21k-ft1k), ``native``
            (imagenet, or imagenet21k-ft1k for XL, which has no other), or a file.
        finetune_from: First stage that is trained when finetuning; 0 trains everything.
        features: Whether a frozen backbone runs once for all trials, which then train the
            classifier head on its cached features: ``auto`` unless an augmentation other than
            flips changes the images, ``off`` never, ``require`` always, and such augmentations
            are refused.
        epochs: Passes over the training images.
        batch_size: Images per optimizer step, over all devices.
        optimizer: The optimizer.
        weight_decay: Decoupled weight decay, multiplied by the learning rate.
        beta_1: Decay of the first moment (AdaBelief, AdamW).
        beta_2: Decay of the second moment (AdaBelief, AdamW).
        epsilon: Added to the second moment's root (AdaBelief: to the state as well).
        rectify: Variance rectification (AdaBelief).
        sma_threshold: Length of the moving average above which the rectified step is adaptive.
        amsgrad: Use the maximum of all second moments so far (AdaBelief, AdamW).
        momentum: Momentum of SGD.
        nesterov: Nesterov momentum (SGD).
        clip_norm: Clip the global gradient norm to this value; ``null`` does not clip.
        ema: Evaluate an exponential moving average of the weights.
        ema_momentum: Decay of that average per step; after n steps at most (1 + n) / (10 + n), as
            a warm-up.
        schedule: The learning-rate schedule.
        initial_learning_rate: The lower bound of the cycle; the start of the warm-up.
        maximal_learning_rate: The upper bound of the cycle; the rate of ``constant``.
        step_size_epochs: Half a cycle, in epochs.
        gamma: Factor per step of the ``exponential`` cycle's amplitude.
        warmup_epochs: Epochs of linear warm-up before ``cosine``.
        dropout: Dropout rate before the classifier.
        stochastic_depth: Drop rate of the last residual block; earlier ones drop less, linearly.
        label_smoothing: Probability spread over all classes.
        flip: Mirror half of the training images, left to right.
        crop_padding: Shift training images by up to this many pixels at stored size, zero-padded.
        random_crop: Train on random rectangular crops, resized to the resolution, with at least
            this fraction of the image's area; 1 disables it.
        random_crop_aspect: Maximum aspect ratio of the crops, wide or high.
        brightness: Maximum relative change of the brightness of training images.
        contrast: Maximum relative change of their contrast.
        saturation: Maximum relative change of their color saturation.
        hue: Maximum hue shift, as a fraction of the color circle, in both directions.
        rand_augment: Magnitude of RandAugment, which applies a few of 13 geometric and color
            transformations to each training image. 10 is its full strength; 0 disables it.
        rand_augment_layers: Number of transformations per image.
        cutout: Side of the square that is masked in training images, as a fraction of theirs.
        mixup: Blend pairs of training images and labels; both parameters of the Beta distribution
            of the blend. 0 disables it.
        cutmix: Paste a rectangle of one training image into another, with labels in proportion;
            parameter as ``mixup``. With both, each step uses one of the two.
        class_weight: Weight of each class in the loss.
        select: The weights that are evaluated: of the last epoch, of the best epoch by the study's
            quality, or of the epoch with the lowest validation loss.
        precision: Of the computation; ``auto`` is mixed_bfloat16 on TPU and GPU, float32 on CPU.
        seed: Of weight initialization, shuffling and all other randomness in training.
    """

    variant: str = "b0"
    resolution: (
        Annotated[int, Field(ge=catalog.MIN_RESOLUTION, le=MAX_PIXELS)] | Literal["native"]
    ) = "native"
    resize: Literal["bilinear", "bicubic"] = "bilinear"
    backbone: Literal["scratch", "finetune", "frozen"] = "scratch"
    weights: PathText = "none"
    finetune_from: Annotated[int, Field(ge=0, le=7)] = 0
    features: Literal["auto", "require", "off"] = "auto"
    epochs: Annotated[int, Field(ge=1, le=MAX_EPOCHS)] = 25
    batch_size: Annotated[int, Field(ge=1, le=MAX_BATCH)] | PerDevice = 128
    optimizer: Literal["adabelief", "adamw", "sgd"] = "adabelief"
    weight_decay: Annotated[float, Field(ge=0)] = 1e-5
    beta_1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta_2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    epsilon: Annotated[float, Field(gt=0)] = 1e-14
    rectify: bool = True
    sma_threshold: Annotated[float, Field(ge=4)] = 5.0
    amsgrad: bool = False
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = True
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    ema: bool = False
    ema_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.999
    schedule: Literal["triangular", "triangular2", "exponential", "constant", "cosine"] = (
        "triangular2"
    )
    initial_learning_rate: Annotated[float, Field(ge=0)] = 1e-4
    maximal_learning_rate: Annotated[float, Field(gt=0)] = 1e-2
    step_size_epochs: Annotated[float, Field(gt=0, le=MAX_EPOCHS)] = 2.0
    gamma: Annotated[float, Field(gt=0, le=1)] = 1.0
    warmup_epochs: Annotated[float, Field(ge=0, le=MAX_EPOCHS)] = 0.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    stochastic_depth: Annotated[float, Field(ge=0, lt=1)] = 0.2
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    flip: bool = False
    crop_padding: Annotated[int, Field(ge=0, le=MAX_PIXELS)] = 0
    random_crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    random_crop_aspect: Annotated[float, Field(ge=1, le=4)] = 4 / 3
    brightness: Annotated[float, Field(ge=0, le=1)] = 0.0
    contrast: Annotated[float, Field(ge=0, le=1)] = 0.0
    saturation: Annotated[float, Field(ge=0, le=1)] = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    rand_augment: Annotated[float, Field(ge=0, le=30)] = 0.0
    rand_augment_layers: Annotated[int, Field(ge=1, le=13)] = 2
    cutout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    mixup: Annotated[float, Field(ge=0)] = 0.0
    cutmix: Annotated[float, Field(ge=0)] = 0.0
    class_weight: Literal["none", "balanced"] | dict[str, Annotated[float, Field(ge=0)]] = "none"
    select: Literal["last", "best", "val_loss"] = "last"
    precision: Literal["auto", "float32", "mixed_bfloat16"] = "auto"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @field_validator("variant")
    @classmethod
    def _is_in_the_catalog(cls, variant: str) -> str:
        try:
            return catalog.find_variant(variant).name
        except TuneError as error:
            raise ValueError(str(error).replace("\n", " ")) from None


class Recipe(Settings):
    """The complete input of one training run: settings, data and quality metric.

    Attributes:
        data: Which images, and how they are split.
        quality: The metric that is compared beside training time.
    """

    data: DataSpec = DataSpec()
    quality: Quality = "accuracy"

    @model_validator(mode="before")
    @classmethod
    def _resolve_native_weights(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("weights") == NATIVE:
            return data | {"weights": native_weights(data.get("variant", "b0"))}
        return data

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Recipe:
        for message in contradictions(self):
            raise ValueError(message)
        return self

    @property
    def pixels(self) -> int:
        """The resolution as a number: ``native`` looked up for the variant."""
        if self.resolution == "native":
            return catalog.find_variant(self.variant).native_resolution
        return self.resolution

    def global_batch(self, device_count: int) -> int:
        """Images per optimizer step over ``device_count`` devices."""
        if isinstance(self.batch_size, PerDevice):
            return self.batch_size.per_device * device_count
        return self.batch_size

    @classmethod
    def of(cls, settings: Mapping[str, Any], data: DataSpec, quality: Quality) -> Recipe:
        """The recipe of some settings, as plain data; the others have their defaults.

        Raises:
            pydantic.ValidationError: A value is not valid in a recipe.
        """
        return cls.from_plain({**settings, "data": data.model_dump(), "quality": quality})

    def with_settings(self, **changes: Any) -> Recipe:
        """The same recipe with other values, validated again."""
        return Recipe.model_validate(self.model_dump() | changes)


def native_weights(variant: str) -> str:
    """The default weight set of a variant: ImageNet-1k where it was released."""
    sets = catalog.weight_sets_of(variant)
    return "imagenet" if "imagenet" in sets else sets[-1] if sets else "none"


def augmentation_kinds(settings: Settings) -> tuple[str, ...]:
    """The active random augmentations; each is part of the compiled step."""
    colors = (settings.brightness, settings.contrast, settings.saturation, settings.hue)
    kinds = {
        "flip": settings.flip,
        "crop": settings.crop_padding > 0,
        "random_crop": settings.random_crop < 1,
        "color": any(strength > 0 for strength in colors),
        "rand_augment": settings.rand_augment > 0,
        "cutout": settings.cutout > 0,
        "mixup": settings.mixup > 0,
        "cutmix": settings.cutmix > 0,
    }
    return tuple(name for name, on in kinds.items() if on)


def image_changes(settings: Settings) -> tuple[str, ...]:
    """The augmentations with which a frozen backbone sees different images in every epoch.

    Flips are not: the features of both mirror images are cached.
    """
    return tuple(kind for kind in augmentation_kinds(settings) if kind != "flip")


def caches_features(settings: Settings) -> bool:
    """Whether the backbone runs once, and trials train the classifier head on its features."""
    frozen = settings.backbone == "frozen" and settings.features != "off"
    return frozen and not image_changes(settings)


def contradictions(settings: Settings) -> list[str]:
    """Messages about settings that are valid one by one and contradict each other."""
    found = []
    if settings.initial_learning_rate > settings.maximal_learning_rate:
        found.append(
            f"initial_learning_rate {settings.initial_learning_rate:g} is above "
            f"maximal_learning_rate {settings.maximal_learning_rate:g}; swap them"
        )
    if settings.backbone == "scratch" and settings.weights != "none":
        found.append(
            f"weights {settings.weights!r} need 'backbone: finetune' or 'backbone: frozen'; "
            "from scratch, no weights are loaded"
        )
    if settings.backbone != "scratch" and settings.weights == "none":
        found.append(
            f"a {settings.backbone} backbone needs pretrained weights: set 'weights:' to a "
            f"released set ({', '.join(catalog.WEIGHT_SETS)}) or a file"
        )
    is_file = settings.weights.endswith(WEIGHT_SUFFIXES)
    if settings.weights not in ("none", NATIVE) and not is_file:
        try:
            catalog.find_weight_file(settings.variant, settings.weights)
        except TuneError as error:
            found.append(str(error).replace("\n", " "))
    found += _feature_contradictions(settings)
    if settings.optimizer == "adabelief" and settings.rectify and settings.beta_2 <= 2 / 3:
        found.append(
            f"beta_2 {settings.beta_2:g} with rectify never reaches AdaBelief's adaptive branch: "
            "use beta_2 above 2/3 or 'rectify: false'"
        )
    return found


def _feature_contradictions(settings: Settings) -> list[str]:
    """Messages about required features that cannot be cached."""
    if settings.features != "require":
        return []
    changes = ", ".join(image_changes(settings))
    if settings.backbone != "frozen":
        message = (
            f"'features: require' is only valid with 'backbone: frozen', not with "
            f"{settings.backbone!r}: the features of a trained backbone change in every step"
        )
    elif changes:
        message = (
            f"features cannot be cached while images change ({changes}): turn these "
            "augmentations off, or write 'features: auto' to run the backbone in every step"
        )
    else:
        return []
    return [message]
