"""Computes one step of each optimizer by functions from arrays to arrays.

The same functions serve one Keras variable at a time and one flat vector of all variables, on every
Keras backend. What is the same for all weights of a step (powers of the betas, rectification) is
computed once, as scalars: the `...Coefficients`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from keras import ops

if TYPE_CHECKING:
    from effv2_tune.tensor import Tensor


class AdaBeliefCoefficients(NamedTuple):
    """Scalars of one AdaBelief step, the same for all weights; float32.

    The step subtracts `momentum_scale * m / (root_scale * sqrt(v) + offset) + decay * weight`.
    """

    one_minus_beta_1: Tensor
    one_minus_beta_2: Tensor
    epsilon: Tensor
    momentum_scale: Tensor
    root_scale: Tensor
    offset: Tensor
    decay: Tensor


def adabelief_coefficients(
    *,
    step: Tensor,
    learning_rate: Tensor,
    beta_1: Tensor,
    beta_2: Tensor,
    epsilon: Tensor,
    weight_decay: Tensor,
    sma_threshold: Tensor,
    rectify: bool,
) -> AdaBeliefCoefficients:
    """Compute the scalars of AdaBelief step `step`.

    Zhuang et al., https://arxiv.org/abs/2010.07468, as adabelief-tf 0.2.1 and tensorflow-addons
    0.23.0 compute it: epsilon is added to the second moment in every step, and again to its root;
    rectified as in https://arxiv.org/abs/1908.03265.

    Args:
        step: This step, from 1, float32.
        learning_rate: Learning rate of this step.
        beta_1: Decay of the first moment.
        beta_2: Decay of the second moment.
        epsilon: Added to the second moment and to its root.
        weight_decay: Decoupled, multiplied by the learning rate.
        sma_threshold: The step is adaptive where the approximated length of the average (rho) is
            at least this; before that it is plain momentum.
        rectify: Whether to rectify at all.

    Returns:
        Scalars, float32.
    """
    unbias_1 = 1.0 / one_minus_power(beta_1, step)
    unbias_2 = ops.rsqrt(one_minus_power(beta_2, step))
    momentum_scale, root_scale, offset = learning_rate * unbias_1, unbias_2, epsilon
    if rectify:
        rho = average_length(beta_2, step)
        adaptive = rho >= sma_threshold
        rectification = _rectification(ops.where(adaptive, rho, 5.0), beta_2)
        momentum_scale = momentum_scale * ops.where(adaptive, rectification, 1.0)
        # Not adaptive: the denominator becomes 0 * sqrt(v) + 1.
        root_scale = ops.where(adaptive, root_scale, 0.0)
        offset = ops.where(adaptive, offset, 1.0)
    return AdaBeliefCoefficients(
        one_minus_beta_1=1.0 - beta_1,
        one_minus_beta_2=1.0 - beta_2,
        epsilon=epsilon,
        momentum_scale=momentum_scale,
        root_scale=root_scale,
        offset=offset,
        decay=learning_rate * weight_decay,
    )


def adabelief_step(
    gradient: Tensor, moments: tuple[Tensor, ...], shared: AdaBeliefCoefficients
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Compute what to subtract from the weights (before decay), and the new moments.

    Args:
        gradient: Float32, any shape.
        moments: First moment, second moment, and with AMSGrad the largest second moment so far; in
            the shape of the gradient.
        shared: From `adabelief_coefficients`.

    Returns:
        The change, and the moments in the same order.
    """
    first, second, *largest = moments
    first = first + (gradient - first) * shared.one_minus_beta_1
    surprise = ops.square(gradient - first)
    second = second + ((surprise - second) * shared.one_minus_beta_2 + shared.epsilon)
    largest = [ops.maximum(before, second) for before in largest]
    root = ops.sqrt(largest[0] if largest else second)
    change = first * shared.momentum_scale / (root * shared.root_scale + shared.offset)
    return change, (first, second, *largest)


class AdamWCoefficients(NamedTuple):
    """Scalars of one AdamW step, the same for all weights; float32."""

    one_minus_beta_1: Tensor
    one_minus_beta_2: Tensor
    epsilon: Tensor
    momentum_scale: Tensor
    decay: Tensor


def adamw_coefficients(
    *,
    step: Tensor,
    learning_rate: Tensor,
    beta_1: Tensor,
    beta_2: Tensor,
    epsilon: Tensor,
    weight_decay: Tensor,
) -> AdamWCoefficients:
    """Compute the scalars of AdamW step `step` (from 1).

    Loshchilov and Hutter, https://arxiv.org/abs/1711.05101, with Keras' place for epsilon (the
    "epsilon hat" of https://arxiv.org/abs/1412.6980, before section 2.1).
    """
    unbias_2 = ops.sqrt(one_minus_power(beta_2, step))
    return AdamWCoefficients(
        one_minus_beta_1=1.0 - beta_1,
        one_minus_beta_2=1.0 - beta_2,
        epsilon=epsilon,
        momentum_scale=learning_rate * unbias_2 / one_minus_power(beta_1, step),
        decay=learning_rate * weight_decay,
    )


def adamw_step(
    gradient: Tensor, moments: tuple[Tensor, ...], shared: AdamWCoefficients
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Compute what to subtract from the weights (before decay), and the new moments.

    Args and returns as for `adabelief_step`.
    """
    first, second, *largest = moments
    first = first + (gradient - first) * shared.one_minus_beta_1
    second = second + (ops.square(gradient) - second) * shared.one_minus_beta_2
    largest = [ops.maximum(before, second) for before in largest]
    root = ops.sqrt(largest[0] if largest else second)
    return first * shared.momentum_scale / (root + shared.epsilon), (first, second, *largest)


class SGDCoefficients(NamedTuple):
    """Scalars of one SGD step, the same for all weights; float32."""

    learning_rate: Tensor
    momentum: Tensor
    decay: Tensor


def sgd_coefficients(
    *, learning_rate: Tensor, momentum: Tensor, weight_decay: Tensor
) -> SGDCoefficients:
    """Compute the scalars of a step of gradient descent; decay is decoupled."""
    return SGDCoefficients(learning_rate, momentum, learning_rate * weight_decay)


def sgd_step(
    gradient: Tensor, moments: tuple[Tensor, ...], shared: SGDCoefficients, *, nesterov: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Compute what to subtract from the weights (before decay), and the new velocity.

    The velocity is Keras': it holds the learning rate of each step that went into it.
    """
    (velocity,) = moments
    pull = gradient * shared.learning_rate
    velocity = velocity * shared.momentum - pull
    return (pull - velocity * shared.momentum if nesterov else -velocity), (velocity,)


class RMSPropCoefficients(NamedTuple):
    """Scalars of one RMSProp step, the same for all weights; float32."""

    learning_rate: Tensor
    one_minus_rho: Tensor
    momentum: Tensor
    epsilon: Tensor
    initial_mean_square: Tensor
    decay: Tensor


def rmsprop_coefficients(
    *,
    step: Tensor,
    learning_rate: Tensor,
    rho: Tensor,
    momentum: Tensor,
    epsilon: Tensor,
    weight_decay: Tensor,
) -> RMSPropCoefficients:
    """Compute the scalars of RMSProp step `step` (from 1); decay is decoupled.

    Tieleman and Hinton, Coursera lecture 6.5 (2012), with the details of TensorFlow 1
    (`tf.compat.v1.train.RMSPropOptimizer`), with which EfficientNetV2 was trained: the mean square
    starts at 1, epsilon is inside the root, and the learning rate inside the velocity. The RMSprop
    of Keras 3 starts it at 0.
    """
    return RMSPropCoefficients(
        learning_rate=learning_rate,
        one_minus_rho=1.0 - rho,
        momentum=momentum,
        epsilon=epsilon,
        # State starts at 0: 1 is added before the first step.
        initial_mean_square=ops.where(step <= 1.0, 1.0, 0.0),
        decay=learning_rate * weight_decay,
    )


def rmsprop_step(
    gradient: Tensor, moments: tuple[Tensor, ...], shared: RMSPropCoefficients
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Compute what to subtract from the weights (before decay), and the new moments.

    Args and returns as for `adabelief_step`; the moments are mean square and velocity.
    """
    mean_square, velocity = moments
    mean_square = mean_square + shared.initial_mean_square
    mean_square = mean_square + (ops.square(gradient) - mean_square) * shared.one_minus_rho
    pull = gradient * shared.learning_rate / ops.sqrt(mean_square + shared.epsilon)
    velocity = velocity * shared.momentum + pull
    return velocity, (mean_square, velocity)


class LionCoefficients(NamedTuple):
    """Scalars of one Lion step, the same for all weights; float32."""

    learning_rate: Tensor
    one_minus_beta_1: Tensor
    one_minus_beta_2: Tensor
    decay: Tensor


def lion_coefficients(
    *, learning_rate: Tensor, beta_1: Tensor, beta_2: Tensor, weight_decay: Tensor
) -> LionCoefficients:
    """Compute the scalars of a Lion step; decay is decoupled.

    Chen et al., https://arxiv.org/abs/2302.06675, algorithm 2.
    """
    return LionCoefficients(
        learning_rate=learning_rate,
        one_minus_beta_1=1.0 - beta_1,
        one_minus_beta_2=1.0 - beta_2,
        decay=learning_rate * weight_decay,
    )


def lion_step(
    gradient: Tensor, moments: tuple[Tensor, ...], shared: LionCoefficients
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Compute what to subtract from the weights (before decay), and the new momentum.

    Args and returns as for `adabelief_step`; the only moment is the first one.
    """
    (momentum,) = moments
    towards = gradient - momentum
    direction = ops.sign(momentum + towards * shared.one_minus_beta_1)
    return direction * shared.learning_rate, (momentum + towards * shared.one_minus_beta_2,)


class ScheduleFreeCoefficients(NamedTuple):
    """Scalars of one Schedule-Free AdamW step, the same for all weights; float32."""

    learning_rate: Tensor
    beta_1: Tensor
    one_minus_beta_2: Tensor
    unbias_2: Tensor
    epsilon: Tensor
    share: Tensor
    weight_decay: Tensor


def schedule_free_coefficients(
    *,
    step: Tensor,
    learning_rate: Tensor,
    beta_1: Tensor,
    beta_2: Tensor,
    epsilon: Tensor,
    weight_decay: Tensor,
    share: Tensor,
) -> ScheduleFreeCoefficients:
    """Compute the scalars of Schedule-Free AdamW step `step` (from 1).

    Defazio et al., https://arxiv.org/abs/2405.15682, algorithm 1, as the package schedulefree
    computes it.

    Args:
        step: This step, from 1, float32.
        learning_rate: Learning rate of this step.
        beta_1: How far the weights that gradients are taken at are towards the average, from the
            ones that steps are made from.
        beta_2: Decay of the second moment.
        epsilon: Added to its root.
        weight_decay: Of the weights that gradients are taken at, times the learning rate.
        share: Of the newest weights in the average, from `squared_share`.
    """
    return ScheduleFreeCoefficients(
        learning_rate=learning_rate,
        beta_1=beta_1,
        one_minus_beta_2=1.0 - beta_2,
        unbias_2=ops.rsqrt(one_minus_power(beta_2, step)),
        epsilon=epsilon,
        share=share,
        weight_decay=weight_decay,
    )


def schedule_free_step(
    gradient: Tensor,
    moments: tuple[Tensor, ...],
    shared: ScheduleFreeCoefficients,
    decaying: Tensor | float,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Compute what to subtract from the weights, and the new moments.

    The weights are those that gradients are taken at, y. Steps are made from others, z, of which
    only the difference z - y is kept: it begins with zeros, as all state does.

    Args:
        gradient: Float32, any shape.
        moments: z - y, and the second moment; in the shape of the gradient.
        shared: From `schedule_free_coefficients`.
        decaying: The weights that decay, zeros elsewhere.

    Returns:
        The change of y, and the moments in the same order.
    """
    ahead, second = moments
    second = second + (ops.square(gradient) - second) * shared.one_minus_beta_2
    pull = gradient / (ops.sqrt(second) * shared.unbias_2 + shared.epsilon)
    pull = (pull + decaying * shared.weight_decay) * shared.learning_rate
    kept = 1.0 - shared.share
    change = pull * (1.0 - shared.beta_1 * kept) - ahead * shared.share
    return change, (kept * (ahead - pull * shared.beta_1), second)


def squared_share(
    iterations: Tensor,
    learning_rate: Tensor,
    *,
    initial: Tensor,
    maximal: Tensor,
    warmup_steps: Tensor,
) -> Tensor:
    """Compute the share of the newest step in an average by squared learning rates.

    The rate rises linearly from `initial` to `maximal` over the warm-up, and stays there: the sum
    of its squares has a closed form, so that no state is needed. While the rate is 0, the share is.

    Args:
        iterations: Steps so far.
        learning_rate: Of this step.
        initial: Of the first step of the warm-up.
        maximal: After it.
        warmup_steps: Length of the warm-up; 0 for none.
    """
    steps = ops.cast(iterations, "float32") + 1.0
    rising = ops.minimum(steps, ops.ceil(warmup_steps))
    slope = (maximal - initial) / ops.maximum(warmup_steps, 1.0)
    before = rising - 1.0
    total = rising * (
        ops.square(initial)
        + initial * slope * before
        + ops.square(slope) * before * (2.0 * rising - 1.0) / 6.0
    ) + (steps - rising) * ops.square(maximal)
    return ops.where(total > 0.0, ops.square(learning_rate) / ops.maximum(total, 1e-30), 0.0)


def one_minus_power(beta: Tensor, step: Tensor) -> Tensor:
    """Compute 1 - beta**step to full float32 precision.

    Written plainly it loses 4 digits for beta 0.999 in the first steps; 1 - beta itself is exact in
    float32 for beta from 0.5 to 1.
    """
    return -ops.expm1(step * ops.log1p(beta - 1.0))


def average_length(beta_2: Tensor, step: Tensor) -> Tensor:
    """Approximate how many steps the second moment averages over (rho of RAdam).

    rho = rho_inf - 2 * step * beta_2**step / (1 - beta_2**step), where rho_inf is
    2 / (1 - beta_2) - 1. In float32 that is the small difference of two large numbers: for beta_2
    0.9999 its error decides whether step 5 (rho 4.9996) is adaptive. With d = -log(beta_2) / 2 and
    c(y) = 1 + 1 / y - coth(y), it is 1 - c(d) + step * c(step * d), where nothing large cancels.
    """
    half_decay = -0.5 * ops.log1p(beta_2 - 1.0)
    return 1.0 - _coth_gap(half_decay) + step * _coth_gap(step * half_decay)


def clip_by_global_norm(gradients: list[Tensor], limit: Tensor) -> list[Tensor]:
    """Scale all gradients by one factor so that their common norm is at most `limit`.

    As in Keras, a norm that is not finite makes every gradient NaN.
    """
    norm = ops.sqrt(sum(ops.sum(ops.square(gradient)) for gradient in gradients))
    factor = limit * ops.minimum(1.0 / norm, 1.0 / limit) + (norm - norm)
    return [gradient * factor for gradient in gradients]


def clip_by_norm(gradient: Tensor, limit: Tensor) -> Tensor:
    """Scale one gradient so that its norm is at most `limit`."""
    norm = ops.sqrt(ops.sum(ops.square(gradient)))
    return gradient * limit / ops.maximum(norm, limit)


def moving_average(average: Tensor, weight: Tensor, momentum: Tensor, iterations: Tensor) -> Tensor:
    """Move `average` towards `weight`; after the first step (iterations 0) it is the weight."""
    kept = ops.where(iterations > 0, momentum, 0.0)
    return average * kept + weight * (1.0 - kept)


def warming_momentum(momentum: Tensor, iterations: Tensor) -> Tensor:
    """Compute the momentum of a moving average over its first steps.

    The smaller of `momentum` and (1 + n) / (10 + n) after n steps, as in TensorFlow's
    `ExponentialMovingAverage(num_updates=n)`, with which EfficientNetV2 was trained: otherwise the
    weights of the first steps stay in the average for some 1 / (1 - momentum) steps.
    """
    steps = ops.cast(iterations, "float32")
    return ops.minimum(momentum, (1.0 + steps) / (10.0 + steps))


def warmed_up(
    learning_rate: Tensor,
    *,
    step: Tensor,
    total_steps: Tensor,
    warmup_proportion: Tensor,
    min_lr: Tensor,
) -> Tensor:
    """Rise from 0 to `learning_rate`, then fall to `min_lr` and stay: AdaBelief's warm-up.

    Args:
        learning_rate: The learning rate that the schedule gives for this step.
        step: This step, from 1, float32.
        total_steps: Steps until `min_lr` is reached.
        warmup_proportion: Share of the steps that rise, from 0 to 1.
        min_lr: The final learning rate.
    """
    warmup_steps = total_steps * warmup_proportion
    decay_steps = ops.maximum(total_steps - warmup_steps, 1.0)
    rising = step <= warmup_steps
    up = learning_rate * (step / ops.where(rising, warmup_steps, 1.0))
    fallen = ops.minimum(step - warmup_steps, decay_steps) / decay_steps
    return ops.where(rising, up, learning_rate + (min_lr - learning_rate) * fallen)


def _rectification(rho: Tensor, beta_2: Tensor) -> Tensor:
    """Compute the factor r of RAdam, section 4.1, for rho above 4."""
    limit = (1.0 + beta_2) / (1.0 - beta_2)
    return ops.sqrt((rho - 4.0) / (limit - 4.0) * ((rho - 2.0) / (limit - 2.0)) * (limit / rho))


def _coth_gap(y: Tensor) -> Tensor:
    """1 + 1/y - coth(y) for y above 0: from 1 down to 0; by its series where y is small."""
    square = y * y
    series = y * (
        1 / 3
        + square * (-1 / 45 + square * (2 / 945 + square * (-1 / 4725 + square * (2 / 93555))))
    )
    small = y < 0.5  # noqa: PLR2004 - here the next term of the series is below 1e-8
    return ops.where(small, 1.0 - series, 1.0 / y - 2.0 / ops.expm1(2.0 * y))
