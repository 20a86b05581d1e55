"""The mapping of a row-stationary chip by listing: what the compiled search must agree with."""

from collections.abc import Iterator

from hwsim.machines.pe_array.rs_mapper import Limits, RsMapping, group_sizes, ifmap_width, strips, tile_width
from hwsim.machines.pe_array.work import ConvWork


def places(work: ConvWork) -> Iterator[tuple[int, int, int]]:
    """Every strip height with every size of a group of images and of filters."""
    for e in range(1, work.p + 1):
        for n in group_sizes(work.n):
            for m in group_sizes(work.k):
                yield e, n, m


def rows_of(work: ConvWork, height: int) -> int:
    """Rows of the ifmap under a strip."""
    return (height - 1) * work.stride[0] + (work.r - 1) * work.dilation[0] + 1


def channels_of(work: ConvWork, limits: Limits, e: int, n: int, m: int) -> tuple[int, int]:
    """Channels of a pass that the banks hold beside the psums, and that `row_words` allows."""
    f = tile_width(work, limits)
    width = ifmap_width(work, f)
    left = limits.banks - -(-n * m * e * f // limits.bank)
    held = max(left, 0) * limits.bank // (n * rows_of(work, e) * width)
    return held, max(1, limits.row_words // -(-width // work.stride[1]))


def most_active(work: ConvWork, limits: Limits, e: int, n: int, m: int) -> int:
    """Most PEs in use on a layer with filters and channels in plenty; one strip of all rows may be part of a taller one."""
    channels = min(channels_of(work, limits, e, n, m))
    filters = limits.filter_buffer // (work.r * work.s)
    tallest = limits.rows // work.r * limits.cols if e == work.p else e
    return max(
        (
            work.r * high * t * min(limits.sets(high, work.r) // t, channels, filters // t)
            for high in range(e, tallest + 1)
            for t in range(1, limits.sets(high, work.r) + 1)
        ),
        default=0,
    )


def inner(work: ConvWork, limits: Limits, e: int, n: int, m: int) -> Iterator[tuple[int, int, int, int]]:
    """p, q, r and t of every mapping; p and t are powers of two, of which a small layer fills a part."""
    held, allowed = channels_of(work, limits, e, n, m)
    for t in (2**i for i in range(30) if 2**i < 2 * m and 2**i <= limits.sets(e, work.r)):
        for p in (2**i for i in range(30) if 2**i * t < 2 * m and 2**i <= limits.psum_spad):
            for q in range(1, min(limits.ifmap_spad // work.s, limits.weight_spad // (p * work.s), work.c) + 1):
                most = min(
                    limits.sets(e, work.r) // t, held // q, limits.filter_buffer // (p * t * q * work.r * work.s)
                )
                for r in range(1, min(most, allowed // q, -(-work.c // q)) + 1):
                    yield p, q, r, t


def dram_words(work: ConvWork, limits: Limits, e: int, n: int, m: int) -> int:
    """Words over the link, padding counted."""
    f = tile_width(work, limits)
    high = sum(rows_of(work, h) * number for h, number in strips(work.p, e))
    wide = sum(ifmap_width(work, part) * number for part, number in strips(work.q, f))
    tiles = -(-work.p // e) * -(-work.q // f)
    ifmap = work.n * work.c * high * wide * -(-work.k // m)
    filters = work.k * work.c * work.r * work.s * tiles * -(-work.n // n)
    return work.g * (ifmap + filters + work.n * work.k * work.p * work.q)


def buffer_words(work: ConvWork, limits: Limits, mapping: tuple[int, ...]) -> int:
    """Psums read and written once a channel group, the ifmap read once a pass."""
    _, m, e, p, q, r, t = mapping
    high = sum(rows_of(work, h) * number for h, number in strips(work.p, e))
    wide = sum(ifmap_width(work, part) * number for part, number in strips(work.q, tile_width(work, limits)))
    passes = sum(-(-k // (p * t)) * number for k, number in strips(work.k, m))
    psums = 2 * -(-work.c // (q * r)) * work.k * work.p * work.q
    return work.g * work.n * (psums + work.c * high * wide * passes)


def cycles(work: ConvWork, limits: Limits, mapping: tuple[int, ...]) -> float:
    """Cycles of all passes: of a column its slowest part, of a pass its start."""
    n, m, e, p, q, r, t = mapping
    starts = -(-work.n // n) * -(-work.q // tile_width(work, limits))
    total = 0.0
    for height, count in strips(work.p, e):
        for channels, groups in strips(work.c, q * r):
            for k, times in strips(work.k, m):
                for pt, passes in strips(k, min(p * t, m)):
                    port = channels * rows_of(work, height) / limits.ifmap_port
                    busy = -(-pt // t) * min(q, -(-channels // r)) * work.s
                    column = max(busy, height * pt / limits.psum_port, work.stride[1] * port)
                    start = pt * channels * work.r * work.s / limits.filter_port + work.s * port + limits.pass_cycles
                    total += count * groups * times * passes * (work.n * work.q * column + starts * start)
    return total * work.g


def best(work: ConvWork, limits: Limits) -> RsMapping | None:
    """The mapping the chip takes: enough PEs, then least DRAM words, least cycles, most PEs, least buffer words, most p."""
    if work.s > limits.weight_spad or work.s > limits.ifmap_spad or work.r > limits.rows:
        return None
    active = {place: most_active(work, limits, *place) for place in places(work)}
    if not any(active.values()):
        return None
    array = max(work.r * e * limits.sets(e, work.r) for e in range(1, limits.rows * limits.cols + 1))
    enough = limits.min_occupation * array
    if max(active.values()) < enough:
        enough = limits.min_occupation * max(active.values())
    words = {place: dram_words(work, limits, *place) for place, most in active.items() if most and most >= enough}
    few = [place for place, number in words.items() if number == min(words.values())]
    ranked = []
    for e, n, m in few:
        for p, q, r, t in inner(work, limits, e, n, m):
            mapping = (n, m, e, p, q, r, t)
            rank = (round(cycles(work, limits, mapping), 4), -e * r * t, buffer_words(work, limits, mapping), -p)
            ranked.append((rank, (e, n, m, q, r, p, t)))
    rank, (e, n, m, q, r, p, t) = min(ranked)
    ties = sum(other == rank for other, _ in ranked)
    return RsMapping(n, m, e, min(p, m), q, r, min(t, -(-m // p)), tile_width(work, limits), ties)
