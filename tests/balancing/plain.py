"""Independent implementations: the papers' procedures on the gradients themselves, and searches that try everything."""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def pcgrad(gradients: Floats, orders: list[list[int]]) -> Floats:
    """[width] the update of arXiv 2001.06782, algorithm 1. orders: for each task, the others as it meets them."""
    update = np.zeros(gradients.shape[1])
    for own, others in zip(gradients, orders, strict=True):
        changed = own.copy()
        for j in others:
            inner = changed @ gradients[j]
            if inner < 0:
                changed -= inner / (gradients[j] @ gradients[j]) * gradients[j]
        update += changed
    return update


def gradvac(gradients: Floats, orders: list[list[int]], targets: Floats, beta: float) -> Floats:
    """[width] the update of arXiv 2010.05874, algorithm 1. targets: [T, T] the average cosines, changed in place."""
    update = np.zeros(gradients.shape[1])
    for i, others in enumerate(orders):
        own = gradients[i].copy()
        for j in others:
            other, target = gradients[j], targets[i, j]
            cosine = own @ other / np.linalg.norm(own) / np.linalg.norm(other)
            if cosine < target:
                sine, target_sine = np.sqrt(1 - cosine**2), np.sqrt(1 - target**2)
                ratio = np.linalg.norm(own) / np.linalg.norm(other)
                own = own + ratio * (target * sine - cosine * target_sine) / target_sine * other
            targets[i, j] = (1 - beta) * target + beta * cosine
        update += own
    return update


def aligned(gradients: Floats) -> Floats:
    """[width] the update of arXiv 2305.19000, by the singular values of the gradients: all as small as the smallest."""
    left, values, right = np.linalg.svd(gradients, full_matrices=False)
    kept = values > 1e-9 * values[0]
    aligned = values[kept].min() * left[:, kept] @ right[kept]
    mean: Floats = aligned.mean(axis=0)
    return mean


def imtl_g(gradients: Floats) -> Floats:
    """[T] the weights of IMTL-G in the closed form of its paper, for linearly independent gradients."""
    units = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    D, U = gradients[0] - gradients[1:], units[0] - units[1:]
    rest = gradients[0] @ U.T @ np.linalg.inv(D @ U.T)
    return np.concatenate([[1 - rest.sum()], rest])


def upgrad_part(gramian: Floats, start: Floats) -> Floats:
    """[T] the `w ≥ start` of the least `w'Kw`, by trying every set of weights that may be above `start`."""
    best = start
    for size in range(1, len(start) + 1):
        for chosen in map(list, combinations(range(len(start)), size)):
            above = np.zeros(len(start))
            above[chosen] = np.linalg.lstsq(
                gramian[np.ix_(chosen, chosen)], -(gramian @ start)[chosen], rcond=1e-12
            )[0]
            w = start + above
            if (above >= 0).all() and w @ gramian @ w < best @ gramian @ best:
                best = w
    return best


def cagrad_bounds(gramian: Floats, weights: Floats, c: float) -> tuple[float, float, float]:
    """What the worst-off task gains, how much it could at most, and how far the update is from the mean, in radii.

    The bound is the paper's dual, `min_w <g_w, g> + c |g| |g_w|`, at the mixture w that the weights add to the mean.
    Each mixture gives a bound, so weights whose gain reaches one are optimal.
    """
    mean = np.full(len(gramian), 1 / len(gramian))
    added = weights - mean
    length = np.sqrt(mean @ gramian @ mean)
    gain = float((gramian @ weights).min())
    w = added / added.sum()
    bound = float(w @ gramian @ mean + c * length * np.sqrt(w @ gramian @ w))
    return gain, bound, float(np.sqrt(added @ gramian @ added) / (c * length))
