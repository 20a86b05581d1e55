"""Attention in tiles, blocks and splits: outputs within the roundings of float64, counts in closed form."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from hwsim.errors import InputError
from hwsim.kernels import AttentionCounts, attention, fp8_values, quantize_fp8
from hwsim.validation.attention import attention_formula, attention_reference

Array = NDArray[Any]
SIZES = st.sampled_from([1, 2, 7, 31, 64, 127, 257])
DIMS = st.sampled_from([1, 8, 40, 96])
FP8 = {"e4m3": ml_dtypes.float8_e4m3fn, "e5m2": ml_dtypes.float8_e5m2}


def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: str, fp8: str = "e4m3") -> tuple[Array, Array, float]:
    """Values as the kernel takes them, what they stand for, and the scale of one."""
    values = (rng.standard_normal(shape) * rng.choice([0.1, 1.0, 4.0])).astype(np.float32)
    if dtype == "int8":
        codes = rng.integers(-128, 128, shape).astype(np.int8)
        return codes, codes * np.float64(np.float32(0.02)), float(np.float32(0.02))
    if dtype == "fp8":
        codes = quantize_fp8(values, fp8)
        return codes, codes.view(FP8[fp8]).astype(np.float64), 1.0
    return values, values.astype(np.float64), 1.0


def agree(kv_dtype: str, q_dtype: str, seed: int, **sizes: Any) -> None:
    rng = np.random.default_rng(seed)
    heads, kv_heads, queries, context, dim, width = (
        sizes.pop(name) for name in ("heads", "kv_heads", "queries", "context", "dim", "value_dim")
    )
    fp8 = str(rng.choice(list(FP8)))
    q, q_mean, q_scale = draw(rng, (heads, queries, dim), q_dtype, fp8)
    k, k_mean, k_scale = draw(rng, (kv_heads, context, dim), kv_dtype, fp8)
    v, v_mean, v_scale = draw(rng, (kv_heads, context, width), kv_dtype, fp8)
    out, counts = attention(q, k, v, q_scale=q_scale, k_scale=k_scale, v_scale=v_scale, fp8=fp8, **sizes)
    blocks = -(-context // sizes["columns"]) + sizes["splits"]
    masks = {name: sizes[name] for name in ("causal", "window", "start") if name in sizes}
    expected, bound = attention_reference(q_mean, k_mean, v_mean, dim**-0.5, blocks, **masks)
    assert out.dtype == np.float32
    assert np.all(np.abs(out - expected) <= bound)
    formula = attention_formula(
        heads=heads, kv_heads=kv_heads, queries=queries, context=context, dim=dim, value_dim=width, **sizes
    )
    assert counts == formula
    assert counts.q_words == q.size
    assert counts.output_words == out.size


TYPES = [("float32", "float32"), ("int8", "int8"), ("fp8", "fp8"), ("fp8", "float32"), ("int8", "float32")]


@pytest.mark.slow
@pytest.mark.parametrize(("kv_dtype", "q_dtype"), TYPES)
@settings(max_examples=150)
@given(data=st.data())
def test_outputs_are_exact_to_rounding_and_counts_those_of_the_formula(
    kv_dtype: str, q_dtype: str, data: st.DataObject
) -> None:
    kv_heads, group = data.draw(st.sampled_from([(1, 1), (1, 5), (3, 1), (2, 7), (5, 3), (7, 1)]), "heads")
    causal = data.draw(st.booleans(), "causal")
    queries, context = data.draw(SIZES, "queries"), data.draw(SIZES, "context")
    sizes: dict[str, Any] = {}
    if causal:
        window = data.draw(st.sampled_from([0, 1, 2, 31, 300]), "window")
        most = context + window - queries - 1 if window else 2 * context
        start = data.draw(st.integers(0, most), "start") if most >= 0 else None
        if start is None:
            queries = min(queries, context)
        sizes = {"window": window} | ({} if start is None else {"start": start})
    agree(
        kv_dtype, q_dtype, data.draw(st.integers(0, 2**32 - 1), "seed"), heads=kv_heads * group, kv_heads=kv_heads,
        queries=queries, context=context, dim=data.draw(DIMS, "dim"), value_dim=data.draw(DIMS, "value_dim"),
        causal=causal, rows=data.draw(st.sampled_from([1, 3, 16, 64, 300]), "rows"),
        columns=data.draw(st.sampled_from([1, 5, 32, 128, 300]), "columns"),
        splits=data.draw(st.sampled_from([1, 2, 3, 7, 1000]), "splits"), packed=data.draw(st.booleans(), "packed"),
        skips=data.draw(st.booleans(), "skips"), **sizes,
    )  # fmt: skip


@pytest.mark.parametrize(("kv_dtype", "q_dtype"), TYPES)
def test_one_case_of_each_type(kv_dtype: str, q_dtype: str) -> None:
    agree(
        kv_dtype, q_dtype, 5, heads=6, kv_heads=3, queries=31, context=127, dim=40, value_dim=96, causal=True,
        window=50, rows=16, columns=24, splits=3, packed=True, skips=True,
    )  # fmt: skip


def ones(heads: int, kv_heads: int, queries: int, context: int, dim: int = 2) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(0)
    return tuple(
        rng.standard_normal(shape).astype(np.float32)
        for shape in ((heads, queries, dim), (kv_heads, context, dim), (kv_heads, context, dim))
    )  # type: ignore[return-value]


def test_equal_scores_give_the_mean_of_the_values() -> None:
    q, k, v = ones(1, 1, 3, 31)
    out, _ = attention(q * 0, k, v, rows=2, columns=7, splits=2)
    np.testing.assert_allclose(out[0], np.tile(v[0].mean(axis=0), (3, 1)), rtol=1e-5, atol=1e-6)
    causal, _ = attention(q * 0, k, v, causal=True, window=2, rows=2, columns=7)
    np.testing.assert_allclose(causal[0, 2], v[0, 29:].mean(axis=0), rtol=1e-6)


def test_a_window_of_one_gives_the_value_of_each_position() -> None:
    q, k, v = ones(2, 2, 31, 31)
    out, counts = attention(q, k, v, causal=True, window=1, rows=8, columns=8)
    np.testing.assert_array_equal(out, v)
    assert counts.attended == 2 * 31


def test_counts_by_hand() -> None:
    """10 queries of 2 heads in tiles of 4 rows, from the last: 4, 4, 2; blocks of 4 to positions 10, 6, 2: 3 + 2 + 1."""
    _, counts = attention(*ones(2, 2, 10, 10, 3), causal=True, rows=4, columns=4, packed=False)
    assert asdict(counts) == {
        "tiles": 6, "blocks": 12, "scores": 12 * 16, "attended": 2 * 55, "score_macs": 12 * 16 * 3,
        "value_macs": 12 * 16 * 3, "exponentials": 12 * 16, "rescales": 6 * 4, "combined": 0, "q_words": 60,
        "kv_words": 2 * (10 + 6 + 2) * 6, "kv_padding": 2 * (2 + 2 + 2) * 6, "output_words": 60,
    }  # fmt: skip


def test_heads_that_share_keys_read_them_once() -> None:
    """One new token of 8 heads that share 2 heads of keys: packed, each position is read once for four heads."""
    q, k, v = ones(8, 2, 1, 100, 16)
    together, packed = attention(q, k, v, causal=True, rows=8, columns=32, packed=True)
    apart, single = attention(q, k, v, causal=True, rows=1, columns=32, packed=False)
    np.testing.assert_array_equal(together, apart)
    assert packed.kv_words == 2 * 100 * 32
    assert single.kv_words == 4 * packed.kv_words
    assert packed.attended == single.attended == 8 * 100


def test_splits_add_tiles_and_sums_and_nothing_else() -> None:
    q, k, v = ones(4, 4, 1, 257, 8)
    whole, one = attention(q, k, v, rows=1, columns=16)
    parts, split = attention(q, k, v, rows=1, columns=16, splits=5)
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)
    assert (split.tiles, one.tiles) == (5 * 4, 4)
    assert (split.combined, one.combined) == (5 * 4, 0)
    assert split.rescales == one.rescales - 4 * 4  # the first block of a part has nothing to scale
    assert (split.scores, split.kv_words) == (one.scores, one.kv_words)


def test_rows_without_a_score_in_a_block_are_not_nan() -> None:
    """The first block of a tile of eight queries with a window of two is masked for all but the first two of them."""
    q, k, v = ones(1, 1, 8, 8)
    out, _ = attention(q, k, v, causal=True, window=2, rows=8, columns=2)
    split, _ = attention(q, k, v, causal=True, window=2, rows=8, columns=2, splits=4)
    expected, bound = attention_reference(q, k, v, 2**-0.5, 8, causal=True, window=2)
    assert np.all(np.abs(out - expected) <= bound)
    assert np.all(np.abs(split - expected) <= bound)


def test_one_array_may_be_queries_keys_and_values() -> None:
    x = ones(2, 2, 31, 31)[0]
    out, _ = attention(x, x, x, rows=8, columns=16)
    np.testing.assert_array_equal(out, attention(x, x.copy(), x.copy(), rows=8, columns=16)[0])


@pytest.mark.parametrize("dtype", ["float32", "fp8"])
@pytest.mark.parametrize("context", [127, 2048])
def test_errors_of_random_data_are_a_few_roundings(dtype: str, context: int) -> None:
    """Roundings of random data cancel, so errors stay at a few ulps of the values where the bound grows with length."""
    rng = np.random.default_rng(context)
    q, k, v = (rng.standard_normal((2, n, 128)).astype(np.float32) for n in (5, context, context))
    means = q, k, v
    if dtype == "fp8":
        q, k, v = (quantize_fp8(values) for values in (q, k, v))
        means = tuple(fp8_values()[values] for values in (q, k, v))
    out, _ = attention(q, k, v, rows=16, columns=64, splits=3)
    expected, bound = attention_reference(*means, 128**-0.5, -(-context // 64) + 3)
    assert np.abs(out - expected).max() <= 16 * 2.0**-24 * np.abs(expected).max()
    assert np.all(np.abs(out - expected) <= bound)


def test_large_scores_do_not_overflow() -> None:
    """Scores of 10^6 have exponentials that no float holds; relative to the maximum they are at most 1."""
    q, k, v = ones(1, 1, 5, 64)
    out, _ = attention(q, k, v, scale=1e6, rows=4, columns=8, splits=3)
    best = (q[0].astype(np.float64) @ k[0].astype(np.float64).T).argmax(axis=1)
    np.testing.assert_allclose(out[0], v[0][best], rtol=1e-6)


@pytest.mark.parametrize("kind", FP8)
def test_fp8_values_and_rounding_are_those_of_ml_dtypes(kind: str) -> None:
    codes = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(fp8_values(kind), codes.view(FP8[kind]).astype(np.float32))
    rng = np.random.default_rng(1)
    table = fp8_values(kind)
    finite = np.sort(table[np.isfinite(table)])
    middles = (finite[1:] + finite[:-1]) / 2
    values = np.concatenate([rng.standard_normal(999) * 10.0 ** rng.integers(-9, 3, 999), middles]).astype(np.float32)
    values = values[np.abs(values) <= finite[-1]]
    np.testing.assert_array_equal(quantize_fp8(values, kind), values.astype(FP8[kind]).view(np.uint8))
    assert fp8_values(kind)[quantize_fp8(np.array([1e9, -np.inf], np.float32), kind)].tolist() == [
        finite[-1],
        finite[0],
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q": np.zeros((3, 4, 8), np.float32)}, "q: must have a multiple of 2 heads"),
        ({"k": np.zeros((2, 5, 7), np.float32)}, "k: must have 2 heads and 6 positions of 8 values"),
        ({"q": np.full((2, 4, 8), np.nan, np.float32)}, "q: must be finite"),
        ({"v": np.full((2, 6, 8), 1e38, np.float32)}, "v: must have sums below"),
        ({"q": np.zeros((2, 4, 8), np.int8)}, "q: must be float32 as k is, got int8"),
        ({"q": np.zeros((2, 7, 8), np.float32), "causal": True}, "q: must be at most 6 queries where causal, got 7"),
        (
            {"causal": True, "window": 2, "start": 4},
            "start: must be at most 3, so that each query attends to a position",
        ),
        ({"window": 2}, "window: must be 0 where causal is not true, got 2"),
        ({"start": 0}, "start: must be left out where causal is not true"),
        (
            {
                "rows": 4096,
                "columns": 4096,
                "q": np.zeros((2, 4, 9000), np.float32),
                "k": np.zeros((2, 6, 9000), np.float32),
            },
            "rows: must be fewer",
        ),
        ({"rows": 0}, "rows: must be 1 to 4096, got 0"),
        ({"scale": np.inf}, "scale: must be a finite number"),
        ({"v_scale": 0}, "v_scale: must be a positive finite number"),
        ({"q": np.zeros((2, 8, 4), np.float32).transpose(0, 2, 1)}, "q: must be a C-contiguous 3-D array"),
        ({"q": np.zeros((2, 0, 8), np.float32)}, "q: must not be empty"),
    ],
)
def test_what_cannot_be_executed_is_refused(change: dict[str, Any], message: str) -> None:
    plain: dict[str, Any] = {name: np.zeros((2, n, 8), np.float32) for name, n in (("q", 4), ("k", 6), ("v", 6))}
    with pytest.raises(InputError) as error:
        attention(**(plain | change))
    assert message in str(error.value)


def test_a_code_of_fp8_that_is_no_number_is_refused() -> None:
    codes = np.full((1, 2, 3), 0x7F, np.uint8)
    with pytest.raises(InputError, match="k: must be finite"):
        attention(np.zeros((1, 1, 3), np.float32), codes, codes)


def test_counts_add_up() -> None:
    _, counts = attention(*ones(1, 1, 3, 5))
    assert counts + counts == AttentionCounts(*(2 * n for n in asdict(counts).values()))
