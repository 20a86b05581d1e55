"""Taps of a filter that read a value and not the padding, in closed form: images may be of any size."""

from __future__ import annotations

import math

__all__ = ["ceil_positions", "covered", "live_taps"]


def ceil_positions(room: int, stride: int, end: int) -> int:
    """Positions of a window that may hang over the end, as PyTorch and onnxruntime have them.

    `room` is what the padded input has beyond the window, `end` where the padding after the values begins: no window
    starts there.

    >>> ceil_positions(2, 2, 4), ceil_positions(3, 2, 5), ceil_positions(3, 4, 4)
    (2, 3, 1)
    """
    positions = -(-room // stride) + 1
    return positions - 1 if positions > 1 and (positions - 1) * stride >= end else positions


def live_taps(size: int, window: int, stride: int, before: int, out: int, dilation: int = 1) -> int:
    """Pairs of output position and filter tap, along one axis, that read a value and not the padding.

    >>> live_taps(4, 3, 1, 1, 4), live_taps(4, 1, 2, 0, 2)
    (10, 2)
    """
    reads = (_taps_below(end, window, stride, before, out, dilation) for end in (size, 0))
    return next(reads) - next(reads)


def covered(size: int, window: int, stride: int, before: int, out: int, dilation: int = 1) -> int:
    """Values along one axis that some filter tap reads.

    >>> covered(4, 3, 1, 1, 4), covered(9, 1, 2, 0, 5)
    (4, 5)
    """
    common = math.gcd(stride, dilation)
    apart, steps = dilation // common, stride // common
    if out <= apart or window <= steps:  # no value is read twice
        return live_taps(size, window, stride, before, out, dilation)
    # A position reads again what one `apart` before it reads, but for its last taps.
    first = live_taps(size, window, stride, before, apart, dilation)
    moved = before - apart * stride - (window - steps) * dilation
    return first + live_taps(size, steps, stride, moved, out - apart, dilation)


def _taps_below(end: int, window: int, stride: int, before: int, out: int, dilation: int) -> int:
    """Pairs of output position and filter tap that read below an index: a window's start moves up by the stride."""
    last = end - 1 + before  # what a tap may be from the start of the first window
    whole = min(max((last - (window - 1) * dilation) // stride + 1, 0), out)  # positions with all of their taps
    some = min(max(last // stride + 1, 0), out) - whole
    rest = last - (whole + some - 1) * stride
    return whole * window + some + _floor_sum(some, dilation, stride, rest) if some > 0 else whole * window


def _floor_sum(count: int, divisor: int, step: int, start: int) -> int:
    """Sum of ``(step * i + start) // divisor`` over the first `count` whole numbers, as Euclid's algorithm goes."""
    total = 0
    while count > 0:
        total += count * (count - 1) // 2 * (step // divisor) + count * (start // divisor)
        step, start = step % divisor, start % divisor
        top = step * count + start
        count, start = divmod(top, divisor)
        divisor, step = step, divisor
        if not divisor:
            break
    return total
