"""What each column of a table means: of layers, of runs that are compared, and of the points of a sweep."""

from __future__ import annotations

from fnmatch import fnmatchcase

__all__ = ["COLUMNS", "columns_markdown", "meaning"]

COLUMNS: dict[str, dict[str, str]] = {
    "which row it is": {
        "layer, op": "Name and operator of the layer.",
        "run, base": "Label of the run, and of the run that its ratios are to.",
        "point": "Number of the point of a sweep; the parameters follow in columns of their own names.",
        "machine, workload, batch": "What was run.",
        "layers": "Layers of the run.",
    },
    "time": {
        "latency_s": "Time of one batch, or of the layer in it.",
        "interval_s": "Time in which a batch is finished: shorter than the latency where streams are concurrent.",
        "inferences_per_s": "Inputs finished in a second.",
        "cycles": "Cycles of the core clock.",
        "bound": "What holds the layer back; of a run, what does so for most of the time.",
        "utilization": "MACs that were executed over those at the peak rate in the same time.",
        "tops": "Operations in a second / 1e12; a MAC is two.",
        "*_cycles": "Cycles of a unit or kind of work, by name, as `mac_cycles`. They may overlap.",
        "events": "Events that the engine simulated.",
        "threads": "Threads of the layer (processors).",
        "processing_s": "Time without the transfers of the chip's link (Eyeriss), which its publication measures.",
        "kernel": "Kernel or tile that runs the layer (GPUs).",
        "kernel_s, launch_s": "Time of the kernel, and of its launch (GPUs).",
        "tensor_s, l2_s, dram_s, store_s": "Time that MACs, L2, DRAM and storing the results take alone (GPUs).",
        "exponential_s, cta_s": "Time of exponentials, and of what tiles begin and end with (attention on GPUs).",
        "waves, wave_fill": "Waves of tiles over the SMs, and how full these are on average (GPUs).",
        "peak_share": "Time at the peak rate of the unit over time (GPUs).",
        "macs_per_dram_byte, ridge_macs_per_byte": "MACs per byte from DRAM, and where DRAM ceases to be the bound.",
        "clock_hz": "Clock in this layer, after the power cap (GPUs).",
    },
    "work and memory": {
        "macs, macs_live, macs_executed": "MACs of the shape; without dead channels; that the machine runs.",
        "dram_bytes": "Bytes from and to DRAM.",
        "peak_memory_bytes": "Most bytes of activations that live at the same time.",
        "memory_bytes": "Bytes of memory that the network must fit in; empty where there is no limit.",
        "fits, margin_bytes": "Whether the network fits, and the bytes left (negative: short) in the tightest memory.",
        "*_need_bytes, *_size_bytes": "Bytes that the network needs of a memory, and its size, as `flash_need_bytes`.",
        "flash_bytes": "Bytes of weights read from flash (microcontrollers).",
        "glb_bytes": "Bytes of the global buffer in use (Eyeriss).",
        "active_pes": "Processing elements in use.",
        "mapping": "The mapping of the layer, in short.",
        "tiles, weight_tiles, folds, splits": "Tiles, tiles of weights, passes over the array, parts of the rows.",
        "ifmap_reads, weight_reads, ofmap_reads, ofmap_writes": "Words of the buffers (systolic arrays).",
        "host": "The host that runs the layer.",
    },
    "energy": {
        "energy_pj": "Energy of a batch, or of the layer in it, in pJ; empty if it is unknown.",
        "energy_per_inference_pj": "The same for one input.",
        "energy_pj.*": "Energy of a component.",
        "estimated_*_pj": "Energy divided by what cycles go to: an estimate (microcontrollers).",
        "power_w": "Mean power without off-chip memory.",
        "draw_w": "Power of the board in this layer (GPUs).",
        "energy_scope, energy_basis": "What the energy is of (chip, board, ...), and what it rests on.",
        "tops_per_w": "Operations for each joule / 1e12.",
        "edp_pj_s": "Energy times latency.",
        "area_mm2, cost_usd": "Area and cost of the machine, where its file has them.",
    },
    "trust and comparison": {
        "error_expected, error_expected_95": "Error of the latency that 68 and 95 % are expected within.",
        "energy_error_expected, energy_error_expected_95": "The same of the energy.",
        "error_measured, energy_error_measured": "Whether anything near was measured.",
        "error_basis": "Which measured values are near, or what was not measured.",
        "missing_operators, missing_bytes": "Shares of a model file's operators and stored bytes that are in no row.",
        "library_name": "Kernel library.",
        "latency_s_ratio, energy_pj_ratio": "Value over that of the first run of the same layers.",
        "feasible": "Whether the point meets the constraints of the sweep.",
        "error": "Why there is no result; empty if there is one.",
    },
    "duty cycles (`--every`)": {
        "every_s": "Period.",
        "average_w, least_w, peak_w": "Average power; what is known of it where a power is unknown; the peak.",
        "duty": "Share of the time that the core is busy.",
        "missed": "Inferences that end after the next capture.",
        "battery, life_s": "The battery and its life.",
    },
    "loads (`serve.` in sweeps)": {
        "queries_per_s": "Highest rate under the bound; else queries, or requests, answered a second.",
        "offline_per_s": "The most a second, with a queue that is never empty.",
        "p50_s, p90_s, p99_s, p999_s": "Percentiles of the latency.",
        "streams, max_batch, mean_batch": "Concurrent batches; samples of a batch, at most and in the mean.",
        "busy": "Share of the time in which streams are busy, or a step runs.",
        "drops": "Queries that were dropped.",
        "energy_per_query_pj": "Energy of a query with its share of the idle time; empty if it is unknown.",
        "ttft_s, tpot_s": "Time to the first token, and of each further one, at the percentile of the load.",
        "tokens_per_s, energy_per_token_pj": "Tokens of answers a second, and the energy of one.",
    },
}  # fmt: skip
"""Columns by subject: names (or patterns of families of names) that share a sentence."""


def meaning(column: str) -> str | None:
    """What a column means; None for one that nobody described."""
    meanings: dict[str, str] = {}
    for group in COLUMNS.values():
        for names, text in group.items():
            meanings |= {name: text for name in names.split(", ") if fnmatchcase(column, name)}
    return meanings.get(column) or next(iter(meanings.values()), None)


def columns_markdown() -> str:
    """All of them as a Markdown table."""
    lines = ["| column | meaning |", "|---|---|"]
    for subject, group in COLUMNS.items():
        lines.append(f"| **{subject}** | |")
        lines += [
            f"| {', '.join(f'`{name}`' for name in names.split(', '))} | {text} |" for names, text in group.items()
        ]
    return "\n".join(lines)
