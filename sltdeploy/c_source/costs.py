"""What a step of each kernel costs: which of them a projection gets.

Nanoseconds on one core of an AMD EPYC of family 26 (gcc 12, -O3 -march=native), fitted to
``python benchmarks/c_step.py --kernels`` and mostly within a third of it. Only ratios matter:
where a choice is close it costs little either way. On other machines a scattered add is a load,
an add and a store as well, and a row is what the vector unit does.
"""

from math import prod

from sltdeploy.program import Conv, Linear, Pool, Shape

EVENT = 2.0  # look up the column of an event
UNFORESEEN = 5.0  # its loop ends after a number of adds that no branch predictor knows
SCATTERED = 0.30  # add one weight of a column to wherever it belongs
ROW = 4.0  # begin the row of an event
ROW_BYTE = 0.0052  # add a weight of a row, for each byte of accumulator and weight
TAP = 2.4  # find where a tap of an event's window falls
IMAGE_ROW = 3.5  # begin a row of an image
IMAGE_BYTE = 0.004  # add an element of it, for each byte of accumulator and weight
STRIDED = 4.0  # what is not contiguous is not vectorised

SPIKE_RATE = 0.1  # share of elements that spike in a step, where nobody says
VALUE_RATE = 1.0  # share of values that are not 0


def estimate(
    op: Linear | Conv, shape: Shape, rate: float, bytes_each: int, *, sparse: bool
) -> float:
    """Nanoseconds of ``op`` behind a source of which the share ``rate`` is not 0.

    ``sparse`` asks for the kernel that knows where the weights are: compressed columns, or a
    convolution by events. The other one takes whole rows. ``bytes_each`` is what an accumulator
    and a weight take together.
    """
    kept = float((op.weight != 0).sum())
    match op:
        case Linear():
            post, pre = op.weight.shape
            if sparse:
                ends = min(UNFORESEEN, kept / pre)
                return rate * (pre * (EVENT + ends) + kept * SCATTERED)
            return rate * pre * (ROW + post * bytes_each * ROW_BYTE)
        case Conv():
            if sparse:
                taps = shape[0] * prod(op.weight.shape[2:])
                return rate * prod(shape[1:]) * (taps * TAP + kept * SCATTERED)
            _, height, width = op.out_shape(shape)
            strided = 1 if op.stride[1] == 1 else STRIDED
            return kept * height * (IMAGE_ROW + width * bytes_each * IMAGE_BYTE * strided)


def linear_by_columns(op: Linear, rate: float, bytes_each: int) -> bool:
    """Whether compressed columns are at most as expensive as whole rows."""
    shape = (op.weight.shape[1],)
    return estimate(op, shape, rate, bytes_each, sparse=True) <= estimate(
        op, shape, rate, bytes_each, sparse=False
    )


def conv_by_events(op: Conv, shape: Shape, rate: float, bytes_each: int) -> bool:
    """Whether scattering from each event costs at most as much as all rows of all taps."""
    return estimate(op, shape, rate, bytes_each, sparse=True) <= estimate(
        op, shape, rate, bytes_each, sparse=False
    )


def rate_behind_pool(op: Pool, rate: float) -> float:
    """Share of windows in which anything is not 0, if the elements are independent."""
    return float(1 - (1 - min(rate, 1.0)) ** prod(op.kernel))
