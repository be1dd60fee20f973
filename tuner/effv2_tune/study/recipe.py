"""Defines the recipe: all settings of a training run, with every default filled in."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from effv2_tune import catalog
from effv2_tune.errors import TuneError
from effv2_tune.study.base import Value
from effv2_tune.study.limits import (
    MAX_BATCH,
    MAX_EPOCHS,
    MAX_FOLDS,
    MAX_PIXELS,
    MAX_STAGES,
    PathText,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Quality = Literal["accuracy", "balanced_accuracy", "macro_f1", "top5", "loss"]
Fraction = Annotated[float, Field(ge=0, le=1)]
#: A count of images, or a fraction of them.
Share = Annotated[int, Field(gt=0)] | Annotated[float, Field(gt=0, lt=1)]

#: As `train_on`: the final training leaves no image to validate on.
TRAIN_AND_VALIDATION = "train+validation"

NATIVE = "native"
#: What may grow from stage to stage; each is the value in the first one.
FIRST_STAGE_SETTINGS = ("resolution_from", "rand_augment_from", "mixup_from", "dropout_from")
#: Of the resolutions of all but the first and the last stage: few different ones, so that stages
#: share what is compiled, with each other and with trials of one stage.
_STAGE_MULTIPLE = 8
#: As `evaluation_resolution`: the resolution of training.
SAME = "same"
WEIGHT_SUFFIXES = (".h5", ".hdf5", ".keras")
#: The augmentations that show an image or its mirror image, and nothing else.
FLIPS = frozenset({"flip", "alternating_flip"})
#: The settings of all other augmentations where they are off.
UNCHANGED_IMAGES = {
    "crop_padding": 0,
    "random_crop": 1.0,
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
    "hue": 0.0,
    "rand_augment": 0.0,
    "cutout": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
}
#: The part of a bucket whose evaluation averages over both.
EVALUATION_FLIP = "evaluation_flip"


def quality_direction(quality: Quality) -> Literal["maximize", "minimize"]:
    """The optimization direction: minimize the loss, maximize everything else."""
    return "minimize" if quality == "loss" else "maximize"


class DataSpec(Value):
    """Which images, and how they are split.

    Attributes:
        name: The kind of dataset.
        path: File or folder for the kinds that need one; relative to the study file. A URL, such as
            ``s3://bucket/photos``, is copied into the cache of each machine that trains; not of a
            ``csv``, whose images are beside it.
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
        train_on: The splits that are trained on. ``train+validation`` is for a final training: the
            splits stay the same, its steps also take the validation images, and no epoch is
            validated. A study needs these images to compare trials.
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
    train_on: Literal["train", "train+validation"] = "train"

    @model_validator(mode="after")
    def _names_its_files(self) -> DataSpec:
        if self.name in ("npz", "folder", "csv") and self.path is None:
            raise ValueError(f"data of kind {self.name!r} needs 'path:', the file or folder")
        if self.name == "csv" and "://" in (self.path or ""):
            raise ValueError(
                "a 'csv' cannot be read from a URL, as its images are beside it; use a 'folder' of "
                "one folder for each class, or mount the bucket"
            )
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
        evaluation_resolution: The same for evaluation and the exported model: in pixels,
            ``native``, or ``same`` as in training. Networks that are trained on fewer pixels
            than they are evaluated on take less time for the same accuracy.
        resize: Interpolation of the resize.
        stages: Progressive learning (EfficientNetV2, arXiv 2104.00298, section 4): so many stages
            of about as many epochs each, with images and regularization that grow linearly from the
            first to the last. 1 trains all epochs alike. Only epochs of the last stage can be
            selected.
        resolution_from: Side in pixels in the first of several stages, up to ``resolution`` in the
            last; between them a multiple of 8. ``null`` is ``resolution`` in all. Each stage is
            evaluated at its own resolution, or at ``evaluation_resolution``.
        rand_augment_from: Magnitude of RandAugment in the first stage; ``null`` is
            ``rand_augment`` in all.
        mixup_from: Parameter of mixup in the first stage; ``null`` is ``mixup`` in all.
        dropout_from: Dropout rate in the first stage; ``null`` is ``dropout`` in all.
        backbone: ``scratch`` trains all weights from random initialization, ``finetune`` all
            weights from pretrained ones, ``frozen`` only the classifier head.
        weights: ``none``, a released set (imagenet, imagenet21k, imagenet21k-ft1k), ``native``
            (imagenet, or imagenet21k-ft1k for XL, which has no other), or a file.
        finetune_from: First stage that is trained when finetuning; 0 trains everything.
        head_epochs: So many of the ``epochs``, the first ones, train the classifier alone, on the
            cached features of the pretrained network and without the augmentations that change
            images; then all layers are trained from ``finetune_from`` on, from that classifier
            (LP-FT, Kumar et al., arXiv 2202.10054). Each part has an optimizer, and a learning-rate
            schedule over its own epochs. 0 trains all layers from the beginning.
        head_learning_rate: The upper bound of the learning rate of those epochs: a classifier alone
            bears a higher one than pretrained filters. ``null`` is ``maximal_learning_rate``.
        features: Whether a frozen backbone runs once for all trials, which then train the
            classifier head on its cached features: ``auto`` unless an augmentation other than
            flips changes the images or they are evaluated at another resolution, ``off`` never,
            ``require`` always, and both are refused.
        epochs: Passes over the training images.
        batch_size: Images per optimizer step, over all devices.
        optimizer: The optimizer.
        weight_decay: Decoupled weight decay, multiplied by the learning rate.
        layer_decay: The learning rate of each stage of the network relative to that of the stage
            after it: the classifier has the full rate, the last convolution ``layer_decay`` times
            that, the last stage its square, down to the stem. 1 is one rate for all.
        beta_1: Decay of the first moment (AdaBelief, AdamW); its share in a step of Lion; how far
            gradients of Schedule-Free AdamW are taken towards the average.
        beta_2: Decay of the second moment (AdaBelief, AdamW, Schedule-Free AdamW); of the first one
            of Lion, 0.99 as published.
        epsilon: Added to the second moment's root (AdaBelief: to the state as well; RMSProp: to
            the mean square inside its root, 1e-3 as published).
        rectify: Variance rectification (AdaBelief).
        sma_threshold: Length of the moving average above which the rectified step is adaptive.
        amsgrad: Use the maximum of all second moments so far (AdaBelief, AdamW).
        rho: Decay of the mean square (RMSProp).
        momentum: Momentum of SGD and RMSProp.
        nesterov: Nesterov momentum (SGD).
        l2: Coefficient of L2 regularization: that times each kernel is added to the kernel's
            gradient, as by half of it times the squared norm in the loss. Biases, scales and
            offsets are exempt. Unlike ``weight_decay``, adaptive optimizers divide it, too.
        clip_norm: Clip the global gradient norm to this value; ``null`` does not clip.
        ema: Evaluate an exponential moving average of the weights; ``schedule_free`` has an average
            of its own.
        ema_momentum: Decay of that average per step; after n steps at most (1 + n) / (10 + n), as
            a warm-up.
        schedule: The learning-rate schedule.
        initial_learning_rate: The lower bound of the cycle; the start of the warm-up.
        maximal_learning_rate: The upper bound of the cycle; the rate of ``constant``.
        step_size_epochs: Half a cycle, in epochs.
        gamma: Factor per step of the ``exponential`` cycle's amplitude.
        warmup_epochs: Epochs of linear warm-up: from the initial to the maximal rate before
            ``cosine`` and ``constant``; of a cycle the height above the lower bound grows, over
            these epochs of it.
        dropout: Dropout rate before the classifier.
        stochastic_depth: Drop rate of the last residual block; earlier ones drop less, linearly.
        label_smoothing: Probability spread over all classes.
        flip: Mirror training images, left to right: ``true`` each with probability one half in each
            epoch; ``alternating`` half of them in the first epoch, and from then on each of them in
            every second epoch, so that two consecutive epochs show it both ways (Jordan, arXiv
            2404.00498, "Alternating flip").
        evaluation_flip: Test-time augmentation: evaluate each image and its mirror image, and
            average their probabilities; so does the exported model. An evaluation, and a prediction
            of that model, takes twice as long.
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
    evaluation_resolution: (
        Annotated[int, Field(ge=catalog.MIN_RESOLUTION, le=MAX_PIXELS)] | Literal["native", "same"]
    ) = "same"
    resize: Literal["bilinear", "bicubic"] = "bilinear"
    stages: Annotated[int, Field(ge=1, le=MAX_STAGES)] = 1
    resolution_from: Annotated[int, Field(ge=catalog.MIN_RESOLUTION, le=MAX_PIXELS)] | None = None
    rand_augment_from: Annotated[float, Field(ge=0, le=30)] | None = None
    mixup_from: Annotated[float, Field(ge=0)] | None = None
    dropout_from: Annotated[float, Field(ge=0, lt=1)] | None = None
    backbone: Literal["scratch", "finetune", "frozen"] = "scratch"
    weights: PathText = "none"
    finetune_from: Annotated[int, Field(ge=0, le=7)] = 0
    head_epochs: Annotated[int, Field(ge=0, lt=MAX_EPOCHS)] = 0
    head_learning_rate: Annotated[float, Field(gt=0)] | None = None
    features: Literal["auto", "require", "off"] = "auto"
    epochs: Annotated[int, Field(ge=1, le=MAX_EPOCHS)] = 25
    batch_size: Annotated[int, Field(ge=1, le=MAX_BATCH)] | PerDevice = 128
    optimizer: Literal["adabelief", "adamw", "sgd", "rmsprop", "lion", "schedule_free"] = (
        "adabelief"
    )
    weight_decay: Annotated[float, Field(ge=0)] = 1e-5
    layer_decay: Annotated[float, Field(ge=0.5, le=1)] = 1.0
    beta_1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta_2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    epsilon: Annotated[float, Field(gt=0)] = 1e-14
    rectify: bool = True
    sma_threshold: Annotated[float, Field(ge=4)] = 5.0
    amsgrad: bool = False
    rho: Annotated[float, Field(ge=0, lt=1)] = 0.9
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = True
    l2: Annotated[float, Field(ge=0)] = 0.0
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
    flip: bool | Literal["alternating"] = False
    evaluation_flip: bool = False
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

    @property
    def pixels(self) -> int:
        """The resolution as a number; with several stages, of the last one."""
        if self.resolution == "native":
            return catalog.find_variant(self.variant).native_resolution
        return self.resolution

    @property
    def evaluation_pixels(self) -> int:
        """The resolution of evaluation as a number."""
        if self.evaluation_resolution == "same":
            return self.pixels
        if self.evaluation_resolution == "native":
            return catalog.find_variant(self.variant).native_resolution
        return self.evaluation_resolution


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
        for message in (*contradictions(self), *data_contradictions(self, self.data)):
            raise ValueError(message)
        return self

    @property
    def stage_epochs(self) -> tuple[int, ...]:
        """The epochs of each stage: as equal as whole epochs can be, the last ones the longer.

        Those of the classifier alone come before them.
        """
        epochs = self.epochs - self.head_epochs
        ends = [number * epochs // self.stages for number in range(self.stages + 1)]
        head = (self.head_epochs,) if self.head_epochs else ()
        return (*head, *(end - begin for begin, end in pairwise(ends)))

    def stage_recipes(self) -> tuple[Recipe, ...]:
        """What is trained in each stage; first of all the classifier alone, if so many epochs do.

        All but resolution and regularization is that of the whole: the learning rate is scheduled
        over all epochs. Only the classifier alone is a training of its own, and so is what follows.
        """
        if self.head_epochs:
            epochs = self.epochs - self.head_epochs
            whole = self.with_settings(head_epochs=0, head_learning_rate=None, epochs=epochs)
            return (self._head_recipe(), *whole.stage_recipes())
        if self.stages == 1:
            return (self,)
        first = {
            name: getattr(self, f"{name}_from") for name in ("rand_augment", "mixup", "dropout")
        }
        plain = dict.fromkeys(FIRST_STAGE_SETTINGS) | {"stages": 1}
        recipes = []
        for number in range(self.stages):
            share = number / (self.stages - 1)
            grown = {
                name: value + share * (getattr(self, name) - value)
                for name, value in first.items()
                if value is not None
            }
            recipes.append(self.with_settings(**plain, **grown, resolution=self._pixels_at(share)))
        return tuple(recipes)

    def _head_recipe(self) -> Recipe:
        """The training of the classifier alone: that of a frozen backbone."""
        plain = dict.fromkeys(FIRST_STAGE_SETTINGS) | {"stages": 1}
        rate = self.head_learning_rate or self.maximal_learning_rate
        return self.with_settings(
            **plain,
            **UNCHANGED_IMAGES,
            initial_learning_rate=min(self.initial_learning_rate, rate),
            maximal_learning_rate=rate,
            head_learning_rate=None,
            backbone="frozen",
            finetune_from=0,
            evaluation_resolution=SAME,
            head_epochs=0,
            epochs=self.head_epochs,
        )

    def _pixels_at(self, share: float) -> int:
        """Side in pixels after a share of the stages, from 0 to 1."""
        first = self.pixels if self.resolution_from is None else self.resolution_from
        if share in (0, 1):
            return self.pixels if share else first
        between = first + share * (self.pixels - first)
        return min(max(_STAGE_MULTIPLE * round(between / _STAGE_MULTIPLE), first), self.pixels)

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


def mean_over_epochs(values: Sequence[float], epochs: Sequence[int]) -> float:
    """The mean of one value for each stage, by the epochs of the stages."""
    weighted = (value * count for value, count in zip(values, epochs, strict=True))
    return sum(weighted) / sum(epochs)


def native_weights(variant: str) -> str:
    """The default weight set of a variant: ImageNet-1k where it was released."""
    sets = catalog.weight_sets_of(variant)
    return "imagenet" if "imagenet" in sets else sets[-1] if sets else "none"


def augmentation_kinds(settings: Settings) -> tuple[str, ...]:
    """The active random augmentations; each is part of the compiled step."""
    colors = (settings.brightness, settings.contrast, settings.saturation, settings.hue)
    kinds = {
        "flip": settings.flip is True,
        "alternating_flip": settings.flip == "alternating",
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
    return tuple(kind for kind in augmentation_kinds(settings) if kind not in FLIPS)


def caches_features(settings: Settings) -> bool:
    """Whether the backbone runs once, and trials train the classifier head on its features."""
    frozen = settings.backbone == "frozen" and settings.features != "off"
    return frozen and not uncacheable(settings)


def uncacheable(settings: Settings) -> str:
    """Why the features of a frozen backbone cannot be cached; empty where they can."""
    if changes := image_changes(settings):
        return f"while images change ({', '.join(changes)})"
    if settings.evaluation_pixels != settings.pixels:
        return (
            f"while images are evaluated at {settings.evaluation_pixels} px and trained at "
            f"{settings.pixels}"
        )
    return ""


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
    found += _schedule_free_contradictions(settings)
    found += _feature_contradictions(settings)
    found += _head_contradictions(settings)
    found += _stage_contradictions(settings)
    if settings.optimizer == "adabelief" and settings.rectify and settings.beta_2 <= 2 / 3:
        found.append(
            f"beta_2 {settings.beta_2:g} with rectify never reaches AdaBelief's adaptive branch: "
            "use beta_2 above 2/3 or 'rectify: false'"
        )
    return found


def data_contradictions(settings: Settings, data: DataSpec) -> list[str]:
    """Messages about settings that need images which the data section leaves out."""
    if data.train_on != TRAIN_AND_VALIDATION or settings.select == "last":
        return []
    message = (
        f"'select: {settings.select}' compares epochs by the validation images, and "
        f"'train_on: {TRAIN_AND_VALIDATION}' trains on them; write 'select: last'"
    )
    return [message]


def _schedule_free_contradictions(settings: Settings) -> list[str]:
    """Messages about what Schedule-Free AdamW takes the place of."""
    if settings.optimizer != "schedule_free":
        return []
    found = []
    if settings.schedule != "constant":
        found.append(
            f"optimizer 'schedule_free' takes the place of schedule {settings.schedule!r}: write "
            "'schedule: constant', with 'warmup_epochs:' or without"
        )
    if settings.ema:
        found.append(
            "optimizer 'schedule_free' evaluates an average of its own: write 'ema: false'"
        )
    return found


def _feature_contradictions(settings: Settings) -> list[str]:
    """Messages about required features that cannot be cached."""
    if settings.features != "require":
        return []
    reason = uncacheable(settings)
    if settings.backbone != "frozen":
        message = (
            f"'features: require' is only valid with 'backbone: frozen', not with "
            f"{settings.backbone!r}: the features of a trained backbone change in every step"
        )
    elif reason:
        remedy = "write 'evaluation_resolution: same'"
        if image_changes(settings):
            remedy = "turn these augmentations off"
        message = (
            f"features cannot be cached {reason}: {remedy}, or write 'features: auto' to run the "
            "backbone in every step"
        )
    else:
        return []
    return [message]


def _head_contradictions(settings: Settings) -> list[str]:
    """Messages about epochs of the classifier alone without any, or all, other layers."""
    if settings.head_epochs == 0:
        return []
    found = []
    if settings.backbone != "finetune":
        found.append(
            f"head_epochs {settings.head_epochs} are those before all layers are finetuned, and "
            f"the backbone is {settings.backbone!r}: write 'backbone: finetune' or 'head_epochs: 0'"
        )
    if settings.head_epochs >= settings.epochs:
        found.append(
            f"head_epochs {settings.head_epochs} of {settings.epochs} epochs leave none for the "
            f"other layers; use at most {settings.epochs - 1}"
        )
    return found


def _stage_contradictions(settings: Settings) -> list[str]:
    """Messages about stages that cannot be trained, or would all be alike."""
    if settings.stages == 1:
        return []
    found = []
    begins = {name: getattr(settings, name) for name in FIRST_STAGE_SETTINGS}
    if all(value is None for value in begins.values()):
        found.append(
            f"with 'stages: {settings.stages}' something has to grow from the first stage on: set "
            f"{', '.join(begins)}, or 'stages: 1'"
        )
    if settings.epochs - settings.head_epochs < settings.stages:
        beside = f" beside head_epochs {settings.head_epochs}" if settings.head_epochs else ""
        found.append(
            f"{settings.epochs} epochs are too few for {settings.stages} stages{beside}, which "
            "take at least one each"
        )
    pixels = settings.pixels
    if settings.resolution_from is not None and settings.resolution_from > pixels:
        found.append(
            f"resolution_from {settings.resolution_from} is above the resolution of the last "
            f"stage, {pixels}: images grow from stage to stage"
        )
    if caches_features(settings):
        found.append(
            "a frozen backbone with cached features is trained in one stage: its features are "
            "those of one resolution; write 'stages: 1' or 'features: off'"
        )
    return found
