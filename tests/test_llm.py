"""Language models: their sizes, the network of a step, and what serving them takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import call

import hwsim
from hwsim.errors import HwsimWarning, InputError
from hwsim.serving import Served
from hwsim.serving.table import with_library
from hwsim.workload.transformer import Formats, LlmSpec, decode_network, llm_names, load_llm, prefill_network

#: Sizes as the config.json of each model has them.
CONFIGS = {
    "llama3_8b": {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
        "num_hidden_layers": 32, "num_key_value_heads": 8, "vocab_size": 128256, "hidden_act": "silu",
        "max_position_embeddings": 8192, "tie_word_embeddings": False, "attention_bias": False,
    },
    "mistral_7b": {
        "model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
        "num_hidden_layers": 32, "num_key_value_heads": 8, "vocab_size": 32000, "hidden_act": "silu",
        "sliding_window": 4096, "tie_word_embeddings": False,
    },
    "qwen3_32b": {
        "model_type": "qwen3", "hidden_size": 5120, "intermediate_size": 25600, "num_attention_heads": 64, "head_dim": 128,
        "num_hidden_layers": 64, "num_key_value_heads": 8, "vocab_size": 151936, "hidden_act": "silu",
        "sliding_window": None, "use_sliding_window": False, "attention_bias": False, "tie_word_embeddings": False,
    },
    "gemma2_9b": {
        "model_type": "gemma2", "hidden_size": 3584, "intermediate_size": 14336, "num_attention_heads": 16, "head_dim": 256,
        "num_hidden_layers": 42, "num_key_value_heads": 8, "vocab_size": 256000, "hidden_act": "gelu_pytorch_tanh",
        "sliding_window": 4096,
    },
    "phi3_mini": {
        "model_type": "phi3", "hidden_size": 3072, "intermediate_size": 8192, "num_attention_heads": 32,
        "num_hidden_layers": 32, "num_key_value_heads": 32, "vocab_size": 32064, "hidden_act": "silu",
        "sliding_window": 2047, "max_position_embeddings": 4096, "tie_word_embeddings": False,
    },
    "gptj_6b": {
        "model_type": "gptj", "n_embd": 4096, "n_layer": 28, "n_head": 16, "n_inner": None, "vocab_size": 50400,
        "activation_function": "gelu_new", "n_positions": 2048, "rotary_dim": 64, "tie_word_embeddings": False,
    },
}  # fmt: skip

#: Parameters that the models' authors or their weight files say.
OTHERS = {
    "gpt2": (124_439_808, {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257,
                           "n_positions": 1024, "activation_function": "gelu_new"}),
    "phi-2": (2_779_683_840, {"model_type": "phi", "hidden_size": 2560, "intermediate_size": 10240,
                              "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 51200,
                              "hidden_act": "gelu_new", "tie_word_embeddings": False}),
    "qwen2-7b": (7_615_616_512, {"model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944,
                                 "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
                                 "vocab_size": 152064, "hidden_act": "silu", "tie_word_embeddings": False}),
    "gemma-2b": (2_506_172_416, {"model_type": "gemma", "hidden_size": 2048, "intermediate_size": 16384,
                                 "num_hidden_layers": 18, "num_attention_heads": 8, "num_key_value_heads": 1,
                                 "head_dim": 256, "vocab_size": 256000, "hidden_act": "gelu"}),
    "llama-3.2-1b": (1_235_814_400, {"model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192,
                                     "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8,
                                     "head_dim": 64, "vocab_size": 128256, "hidden_act": "silu",
                                     "tie_word_embeddings": True}),
}  # fmt: skip


def config(folder: Path, values: object) -> Path:
    path = folder / "config.json"
    path.write_text(values if isinstance(values, str) else json.dumps(values), encoding="utf-8")
    return path


def small(**changes: object) -> LlmSpec:
    sizes: dict[str, object] = {
        "kind": "llm", "name": "small", "source": "a test", "hidden": 96, "layers": 3, "heads": 6, "kv_heads": 2,
        "ffn": 257, "vocabulary": 1009,
    }  # fmt: skip
    return LlmSpec.model_validate(sizes | changes)


@pytest.mark.parametrize("name", llm_names())
def test_parameters_are_those_published(name: str) -> None:
    model = load_llm(name)
    assert model.counted_parameters == model.parameters
    network = decode_network(model, 31)
    stored = {layer.weight.spec.array or layer.name: layer.weights + layer.biases for layer in network}
    assert sum(stored.values()) == model.parameters


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_has_the_sizes_of_the_model(name: str, tmp_path: Path) -> None:
    own, other = load_llm(name), load_llm(config(tmp_path, CONFIGS[name]))
    apart = {"name", "source", "context", "parameters"}
    assert own.model_dump(exclude=apart) == other.model_dump(exclude=apart)


@pytest.mark.parametrize("name", OTHERS)
def test_configs_give_the_published_parameters(name: str, tmp_path: Path) -> None:
    parameters, values = OTHERS[name]
    assert load_llm(config(tmp_path, values)).counted_parameters == parameters


BAD = [
    ("{", "must be JSON"),
    ("[1]", "must be a mapping"),
    ('{"model_type": "llama", "hidden_size": 96, "hidden_size": 192}', "is there twice"),
    ({}, "model_type: must be given"),
    ({"model_type": "lama"}, "'llama'"),
    ({"model_type": "mixtral"}, "it has experts"),
    ({"model_type": ["llama"]}, "must be one of"),
    ({"model_type": "llama"}, "hidden_size: must be given"),
    (CONFIGS["llama3_8b"] | {"num_key_value_heads": 5}, "kv_heads must divide heads, 32, not 5"),
    (CONFIGS["llama3_8b"] | {"num_hidden_layers": 0}, "num_hidden_layers: must be a whole number of at least 1"),
    (CONFIGS["llama3_8b"] | {"num_hidden_layers": 10**9}, "layers"),
    (CONFIGS["llama3_8b"] | {"hidden_size": "4096"}, "hidden_size: must be a whole number"),
    (CONFIGS["llama3_8b"] | {"hidden_act": "sulu"}, "'silu'"),
    (CONFIGS["llama3_8b"] | {"attention_bias": 1}, "attention_bias: must be true or false"),
]


@pytest.mark.parametrize("values,words", BAD)
def test_bad_configs_are_refused(values: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        load_llm(config(tmp_path, values))
    assert words in str(error.value)
    assert "config.json" in str(error.value)


def test_what_a_config_has_besides_is_told(tmp_path: Path) -> None:
    llama = CONFIGS["llama3_8b"]
    with pytest.warns(HwsimWarning, match="quantized"):
        load_llm(config(tmp_path, llama | {"quantization_config": {"quant_method": "awq", "bits": 4}}))
    with pytest.raises(InputError, match="experts are not modeled"):
        load_llm(config(tmp_path, llama | {"num_local_experts": 8}))


def test_what_was_not_measured_is_told() -> None:
    served = Served(with_library("h100", "vllm"), load_llm("llama2_70b"))
    texts = " ".join(map(str, served.messages(5000, [1, 16])))
    assert "extrapolated to 1 requests at a time: 4 to 128 were measured" in texts
    assert "5,000 tokens are more than the 4,096" in texts
    assert "extrapolated" not in " ".join(map(str, served.messages(4096, [4, 128])))
    alone = Served(hwsim.load_machine("epyc_zen5"), small())
    assert "kernels alone" in str(alone.messages(7, [1])[0])


def test_bad_sizes_are_refused() -> None:
    cases = [
        (lambda: decode_network(small(), 0), "context: must be a whole number"),
        (lambda: prefill_network(small(), 0), "tokens: must be a whole number"),
        (lambda: decode_network(small(), 7, tp=4), "must divide the 6 heads of small, not 4"),
        (lambda: decode_network(small(heads=8, kv_heads=8, ffn=255), 7, tp=2), "must divide the 255 ffn"),
        (lambda: decode_network(small(heads=12, kv_heads=6, ffn=256), 7, tp=4), "6 kv_heads"),
        (lambda: decode_network(small(), 7, tp=0), "tp: must be a whole number"),
        (lambda: Formats("int5"), "weights: must be one of"),
        (lambda: Formats("bf16", "fp7"), "kv: must be one of"),
        (lambda: load_llm("llama4_8b"), "'llama3_8b'"),
        (lambda: load_llm("model.onnx"), "hwsim run"),
    ]
    for make, words in cases:
        with pytest.raises(InputError) as error:
            make()
        assert words in str(error.value)


@pytest.mark.parametrize("changes", [{}, {"norms": 1, "gated": False}, {"norms": 4, "qk_norm": True, "tied": True}])
def test_a_block_times_layers_is_the_whole(changes: dict[str, object]) -> None:
    """MACs by hand: products of weights, and both products of attention over the context."""
    model = small(ffn=258, **changes)
    one, many = (
        decode_network(small(ffn=258, layers=1, **changes), 31),
        decode_network(small(ffn=258, layers=7, **changes), 31),
    )
    outside = 96 * 1009
    assert many.macs - outside == 7 * (one.macs - outside)
    matrices = 96 * (6 + 2 * 2) * 16 + 6 * 16 * 96 + (2 + model.gated) * 96 * 258
    assert one.macs == outside + matrices + 2 * 31 * 6 * 16


@pytest.mark.parametrize("tp", [1, 2, 3, 6])
def test_ranks_share_the_work(tp: int) -> None:
    """MACs of all ranks are those of one (but for a padded head), and one rank alone exchanges nothing."""
    model = small(heads=6, kv_heads=6, ffn=258, vocabulary=1008)
    whole, part = decode_network(model, 127), decode_network(model, 127, tp=tp)
    assert tp * part.macs == whole.macs
    collectives = [layer for layer in part if layer.op == "all_reduce"]
    assert len(collectives) == (0 if tp == 1 else 2 * model.layers)
    assert part.cache_bytes(1) * tp == whole.cache_bytes(1)


def test_heads_of_keys_are_repeated_where_ranks_are_more() -> None:
    part = decode_network(small(ffn=258), 127, tp=6)
    assert part.cache_bytes(1) == 3 * 127 * 2 * 1 * 16 * 2  # one head of keys and one of values, 2 B each, 3 blocks


def test_cache_bytes_by_hand() -> None:
    """Llama 3 8B: 32 blocks x 2 x 8 heads x 128 values of 2 B are 131,072 B a token; fp8 half."""
    model = load_llm("llama3_8b")
    assert decode_network(model, 2048).cache_bytes(1) == 2048 * 131072
    assert decode_network(model, 2048, Formats(kv="fp8")).cache_bytes(1) == 2048 * 65536


def test_windows_bound_the_cache() -> None:
    """Gemma 2: every other block keeps 4,096 tokens."""
    model = load_llm("gemma2_9b")
    token = 2 * 8 * 256 * 2
    assert decode_network(model, 8000).cache_bytes(1) == 21 * token * (8000 + 4096)
    assert decode_network(model, 4000).cache_bytes(1) == 42 * token * 4000


@pytest.mark.parametrize("name", ["h100", "a100"])
@pytest.mark.parametrize("concurrency", [1, 7, 31, 127])
def test_energy_times_rate_is_power(name: str, concurrency: int) -> None:
    served = Served(with_library(name), small(hidden=510, ffn=1031))
    point = served.at(concurrency, 257, 131)
    assert point.energy_per_token_pj * point.tokens_per_s / 1e12 == pytest.approx(point.power_w, rel=1e-12)
    parts = served.energy_parts(point, 257, 131)
    assert sum(parts.values()) == pytest.approx(point.energy_per_token_pj, rel=1e-9)
    power = served.machine.spec.power  # type: ignore[attr-defined]
    assert float(power.idle) <= point.power_w <= float(power.board) * 1.001


def test_more_of_anything_takes_no_less() -> None:
    served = Served(with_library("h100"), small(hidden=510, layers=2, ffn=1031))
    for sizes in (
        [(b, 257) for b in (1, 2, 3, 7, 31, 64, 127, 256)],
        [(13, c) for c in (1, 2, 31, 63, 257, 1021, 4099)],
    ):
        times = [served.decode(*size).summary.latency_s for size in sizes]
        assert times == sorted(times)
    prompts = [served.prefill(tokens).summary.latency_s for tokens in (2, 31, 127, 257, 1021, 2053)]
    assert prompts == sorted(prompts)
    points = [served.at(c, 257, 127) for c in (1, 2, 5, 31, 127, 509)]
    assert [p.tpot_s for p in points] == sorted(p.tpot_s for p in points)
    assert [p.tokens_per_s for p in points] == sorted(p.tokens_per_s for p in points)


@pytest.mark.parametrize("output", [1, 2, 7, 131])
@pytest.mark.parametrize("tokens", [1, 31, 1021])
def test_requests_wait_for_the_prompts_of_all(tokens: int, output: int) -> None:
    """Also short answers take the time and the power of their prompts; served ones are no more than offline."""
    for library in ("tensorrt-llm", "sglang"):
        served = Served(with_library("h100", library), small(hidden=510, layers=2, ffn=1031))
        best = served.offline(tokens, output)
        board = float(served.machine.spec.power.board)  # type: ignore[attr-defined]
        points = [served.at(c, tokens, output) for c in (1, 2, 5, 31, 127, 509)]
        for point in points:
            prompts = output * served.prompts_s(point.running / output, tokens)
            assert point.latency_s >= prompts + (output - 1) * point.step_s
            assert point.power_w <= board * 1.001
            assert point.tokens_per_s <= best.tokens_per_s
        for name in ("ttft_s", "tpot_s", "tokens_per_s"):
            values = [getattr(point, name) for point in points]
            assert values == sorted(values)


def test_prompts_run_together_as_far_as_a_step_has_tokens() -> None:
    """At 1,024 tokens a prompt, 8 run together; a prompt of 8,191 alone."""
    served = Served(with_library("h100"), small())
    one, eight = served.prefill(1024).summary.latency_s, served.prefill(1024, 8).summary.latency_s
    for count, time in ((0.5, one / 2), (1, one), (4.5, (one + eight) / 2), (8, eight), (20, 2.5 * eight)):
        assert served.prompts_s(count, 1024) == pytest.approx(time)
    assert served.prompts_s(7, 8191) == pytest.approx(7 * served.prefill(8191).summary.latency_s)


def test_a_prompt_longer_than_a_step_runs_in_several() -> None:
    served = Served(with_library("h100"), small())
    best = served.offline(2**19, 2)
    assert 0 < best.tokens_per_s <= 2 / served.prompts_s(1, 2**19) * 1.1


@pytest.mark.parametrize(
    ("name", "weights"),
    [("epyc_zen5", "fp32"), ("cortex_a72", "fp32"), ("xeon_8480", "bf16"), ("stm32h7a3", "fp32"), ("h100", "bf16")],
)
def test_a_format_that_the_machine_runs_is_the_default(name: str, weights: str) -> None:
    table = hwsim.llm(name, small(layers=1), input=31, output=7)
    assert table.tokens_per_s[0] > 0
    assert hwsim.load_machine(name).float_format == weights


def test_the_cache_of_a_library() -> None:
    """fp8 weights of TensorRT-LLM come with a cache in fp8, of half the bytes."""
    bytes_of = {
        library: int(hwsim.llm("h100", small(), weights="fp8", library=library).sequence_bytes[0])
        for library in ("tensorrt-llm", "vllm")
    }
    assert bytes_of["vllm"] == 2 * bytes_of["tensorrt-llm"]


def test_what_does_not_fit_waits() -> None:
    """Llama 3 8B with 8,192 tokens a request: 1 GiB of cache each."""
    served = Served(with_library("h100"), load_llm("llama3_8b"))
    memory = served.memory(8192)
    assert memory.sequence_bytes == 2**30
    assert memory.sequences is not None
    assert memory.sequences == int(0.9 * 79.65 - 15.0 - 0.5)  # GiB: weights and the context of CUDA
    one, two = served.at(memory.sequences, 7168, 1024), served.at(2 * memory.sequences, 7168, 1024)
    assert two.running == one.running <= memory.sequences
    # While others wait no memory is idle between requests, and the first wave of prompts is a smaller part of the run.
    assert two.tokens_per_s == pytest.approx(one.tokens_per_s, rel=0.1)
    assert two.tokens_per_s > one.tokens_per_s
    assert two.latency_s == pytest.approx(2 * one.latency_s, rel=0.1)


def test_the_command_prints_a_block_once(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "llm", "h100", "llama3_8b", "--phase", "decode", "--batch", 32, "--context", 2048)
    assert code == 0
    assert "x 32" in out
    assert "tokens/s" in out
    assert out.count("grows most") == 2
    code, out, _ = call(capsys, "llm", "h100", "llama3_8b", "--phase", "decode", "--all")
    assert "layers.31.down" in out


def test_the_command_writes_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "llm", "h100", "llama3_8b", "--concurrency", "1,31", "--csv", "-")
    assert code == 0
    assert len(out.splitlines()) == 3
    assert "tpot_s" in out.splitlines()[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--concurrency", "1,x"), "--concurrency must be whole numbers"),
        (("--concurrency", "0"), "--concurrency must be whole numbers"),
        (("--batch", "2"), "--batch must be given with --phase"),
        (("--phase", "decode", "--in", "7"), "--in must be given without --phase"),
        (("--phase", "decode", "--context", "0"), "context must be a whole number from 1"),
        (("--tp", "3"), "must divide the 32 heads"),
        (("--weights", "int5"), "weights: must be one of"),
        (("--library", "vlm"), "vlm"),
        (("--in", "0"), "input must be a whole number"),
        (("--out", "-3"), "output must be a whole number"),
    ],
)
def test_bad_words_exit_2(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str) -> None:
    code, _, err = call(capsys, "llm", "h100", "llama3_8b", *words)
    assert code == 2
    assert message in err.replace("input: must", "input must").replace("output: must", "output must").replace(
        "context: must", "context must"
    )


def test_exit_1_where_not_one_sequence_fits(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "llm", "h100", "llama3_70b", "--phase", "decode")
    assert code == 1
    assert "not even one fits" in out


def test_steps_are_swept() -> None:
    """A sweep of a model says of a step what the model says of it."""
    frame = hwsim.sweep(
        {
            "machines": ["h100"],
            "workloads": ["llama3_8b"],
            "set": {"llm.batch": [1, 31], "llm.context": [127, 1021], "llm.weights": ["bf16", "int4"]},
        }
    )
    assert len(frame) == 8
    served = Served(with_library("h100"), load_llm("llama3_8b"), Formats("int4"))
    row = frame[(frame["llm.batch"] == 31) & (frame["llm.context"] == 1021) & (frame["llm.weights"] == "int4")].iloc[0]
    assert row.latency_s == served.decode(31, 1021).summary.latency_s


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("llm.contxt", 7, "llm.context"),
        ("llm.context", 0, "whole number"),
        ("llm.tp", 3, "must divide"),
        ("llm.batch", 0, "whole numbers from 1"),
        ("llm.weights", "int5", "must be one of"),
        ("llm.phase", "both", "decode or prefill"),
    ],
)
def test_bad_keys_of_a_sweep(key: str, value: object, words: str) -> None:
    with pytest.raises(InputError) as error:
        hwsim.sweep({"machines": ["h100"], "workloads": ["llama3_8b"], "set": {key: [value]}})
    assert words in str(error.value)
    with pytest.raises(InputError):
        hwsim.sweep({"machines": ["h100"], "workloads": ["bert_base"], "set": {"llm.context": [7]}})


def test_a_library_that_was_named_stays() -> None:
    assert with_library("h100").library_name == "tensorrt-llm"
    assert with_library("h100", "vllm").library_name == "vllm"
    assert with_library(hwsim.load_machine("h100", set={"library": "trtllm-w8a8"})).library_name == "trtllm-w8a8"
    assert with_library("epyc_zen5").library_name == "onnxruntime-1.31"
    with pytest.raises(InputError, match="streams: must be 1"):
        Served(hwsim.load_machine("h100", set={"streams": 4}), small())
    with pytest.raises(InputError, match="leave library out"):
        with_library("eyeriss_v1", "vllm")


def test_long_contexts_run() -> None:
    """A million tokens of Llama 3 8B: 128 GiB of cache."""
    served = Served(with_library("h200"), load_llm("llama3_8b"))
    report = served.decode(1, 2**20)
    assert report.summary.latency_s > 2**20 * 131072 / 4.8e12
    assert served.memory(2**20).sequences == 0


def test_every_rank_draws_its_idle_power() -> None:
    """Power of several devices: at least the idle power of each; their energy by parts is that of a token."""
    model = small(heads=6, kv_heads=6, ffn=258, hidden=510, head=64)
    served = Served(with_library("h100"), model, tp=2)
    point = served.at(7, 127, 31)
    idle = float(served.machine.spec.power.idle)  # type: ignore[attr-defined]
    assert point.power_w > 2 * idle
    parts = served.energy_parts(point, 127, 31)
    assert sum(parts.values()) == pytest.approx(point.energy_per_token_pj, rel=1e-9)
    assert parts["static"] == pytest.approx(2 * idle * 1e12 / point.tokens_per_s)


@pytest.mark.parametrize(
    "words", [("run", "h100"), ("explain", "h100"), ("validate", "h100"), ("compare", "h100", "a100")]
)
def test_other_commands_say_which_one_runs_a_model(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    code, _, err = call(capsys, *words, "llama3_8b", *(["head"] if words[0] == "explain" else []))
    assert code == 2
    assert "hwsim llm" in err


def test_the_longest_context_prints_to_the_end(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = call(capsys, "llm", "h200", "llama3_8b", "--kv", "fp8", "--phase", "decode", "--context", 2**20)
    assert (code, err) == (0, "")
    assert out.count("grows most") == 0  # neither a second sequence nor a longer one
    assert "too much" in out
    page = tmp_path / "long.html"
    code, _, err = call(
        capsys, "llm", "h200", "phi3_mini", "--in", 2**19, "--concurrency", 1, "--html", page, "--kv", "fp8"
    )
    assert "Kernels over context" in page.read_text(encoding="utf-8"), err
