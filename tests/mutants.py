"""Mutation testing: faults put into a copy of the source one at a time, each with the tests that must fail of it.

    python -m tests.mutants                       all of them
    python -m tests.mutants --jobs 2 'arena*'     those of a name, two at a time
    python -m tests.mutants --sample 8 --seed 31  eight, drawn

A fault that survives is one that hwsim could have without anybody noticing. Exit code 1 if any does. A mutant names a
test that kills it, by its file and function, so that all of them take minutes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from random import Random

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 600

BUILD = """
import sys
from pathlib import Path
from tomllib import loads
from setuptools import Distribution, Extension
from hwsim._build import BuildExtensions

name = sys.argv[1]
(module,) = (m for m in loads(Path("pyproject.toml").read_text())["tool"]["setuptools"]["ext-modules"] if m["name"] == name)
flags = {key.replace("-", "_"): value for key, value in module.items()}
shared = Extension("hwsim._cyutility", ["hwsim/_cyutility.c"])
command = BuildExtensions(Distribution({"name": "hwsim", "ext_modules": [shared, Extension(**flags)], "packages": ["hwsim"]}))
command.inplace = command.force = True
command.ensure_finalized()
command.run()
"""


@dataclass(frozen=True)
class Mutant:
    """A fault: `new` for `old`, which occurs once in the file; `tests` are those that must notice.

    A test is a file, as `test_arena`, or a function in one, as `test_clock::test_begun_cycles_count`.
    """

    name: str
    file: str
    old: str
    new: str
    tests: str

    def nodes(self) -> list[str]:
        """Tests as pytest names them."""
        parts = [name.partition("::") for name in self.tests.split()]
        return [f"tests/{file}.py{colons}{function}" for file, colons, function in parts]

    def source(self, root: Path) -> str:
        """The file with the fault."""
        text = (root / self.file).read_text()
        if text.count(self.old) != 1:
            raise ValueError(f"{self.name}: {self.file} must have {self.old!r} once, not {text.count(self.old)} times")
        return text.replace(self.old, self.new)


# fmt: off
ENGINE = "test_engine test_engine_fast_forward test_engine_timeline"
NEST = "test_mapping_nest test_counts_by_hand test_mapping_search test_nest"
MUTANTS = [
    # The engine.
    Mutant("engine: a buffer has a slot more", "hwsim/engine/station.py", "        self.free = slots\n", "        self.free = slots + 1\n", "test_engine::test_single_buffer_takes_turns"),
    Mutant("engine: a wait is charged to the last to leave", "hwsim/engine/station.py", "WAIT_PEERS + min(station.peer", "WAIT_PEERS + max(station.peer", "test_engine::test_two_that_leave_in_one_tick_are_one_wait_and_the_first_of_the_program_is_charged"),
    Mutant("engine: requests of one tick are served in reverse", "hwsim/engine/station.py", "self._arrivals.sort(key=_peer)", "self._arrivals.sort(key=_peer, reverse=True)", "test_engine::test_a_read_goes_before_a_write_that_asks_in_the_same_tick"),
    Mutant("engine: the last to ask is served first", "hwsim/engine/station.py", "queue.pop(0)", "queue.pop()", "test_engine::test_load_and_store_share_a_channel"),
    Mutant("engine: a pipeline starts after the first of those before it", "hwsim/engine/station.py", "            if not line.awaits:\n", "            if line.awaits >= 0 and line.start < 0:\n", "test_engine::test_a_pipeline_starts_after_those_before_it"),
    Mutant("engine: iterations that are left count the present one", "hwsim/engine/cursor.py", ".count - 1 - frame.iteration", ".count - frame.iteration", "test_engine::test_a_saturated_channel_never_rests"),
    Mutant("engine: idle time of one server of several", "hwsim/engine/plant.py", "servers * end - busy[name])", "end - busy[name])", "test_engine_timeline::test_the_slowest_stage_keeps_its_resource_busy"),
    Mutant("fast-forward: drift goes on a period too long", "hwsim/engine/repetition.py", "periods = min(periods, (gap_two - 1) // (gap_one - gap_two))\n            last_one", "periods = min(periods, gap_two // (gap_one - gap_two))\n            last_one", "test_engine_fast_forward::test_a_drift_ends_when_two_requests_meet"),
    Mutant("fast-forward: the sum of a drift lacks a period", "hwsim/engine/repetition.py", "triangle = periods * (periods + 1) // 2", "triangle = periods * (periods - 1) // 2", "test_engine_fast_forward::test_a_drift_ends_when_two_requests_meet"),
    Mutant("fast-forward: the order of a queue is no state", "hwsim/engine/repetition.py", "            discrete += [station.index for station in pool.queue]", "            discrete += [len(pool.queue)]", "test_engine_fast_forward::test_who_is_first_in_a_queue_is_part_of_a_state"),
    Mutant("fast-forward: work across the end of a period is not looked at", "hwsim/engine/repetition.py", "if station.phase == WORK:  # one", "if station.phase == 99:  # one", "test_engine_fast_forward::test_fast_forward_is_exact"),
    Mutant("fast-forward: the order in which stages finish may change", "hwsim/engine/repetition.py", "        if [record[0] for record in one] != [record[0] for record in two]:\n", "        if len(one) != len(two):\n", "test_engine_fast_forward::test_fast_forward_is_exact_where_stages_queue"),
    Mutant("timeline: layers do not follow each other", "hwsim/engine/timeline.py", "totals.tiles, totals.start + end, totals.end + end,", "totals.tiles, totals.start, totals.end + end,", "test_engine_timeline::test_layers_one_after_the_other"),
    Mutant("clock: a cycle that is begun does not count", "hwsim/engine/clock.py", "return -(-ticks // self.period(clock))", "return ticks // self.period(clock)", "test_clock::test_begun_cycles_count"),
    Mutant("program: the rest of a total goes to a tile too many", "hwsim/engine/program.py", "base + (start < more)", "base + (start <= more)", "test_gpu::test_the_program_takes_the_predicted_time"),
    Mutant("simulation: streams do not share static power", "hwsim/simulation.py", "prices.static_w * seconds / plan.streams * 1e12", "prices.static_w * seconds * 1e12", "test_cpu::test_streams_share_memory_and_idle_power"),
    Mutant("simulation: servers of a stage work one at a time", "hwsim/simulation.py", "busy[stage] = max(busy[stage], ticks / program.resources[resource])", "busy[stage] = max(busy[stage], ticks)", "test_engine_timeline::test_threads_that_fill_all_channels_at_once_are_bound_by_what_each_does_longest"),
    # Counts of a mapping.
    Mutant("counts: a ragged piece has no instance", "hwsim/mapping/counts.py", "(piece % loop.tile, 1)) if loop.spatial", "(0, 1)) if loop.spatial", "test_counts_by_hand::test_a_ragged_piece_has_an_instance_too"),
    Mutant("counts: all instances read partial sums back", "hwsim/mapping/counts.py", "back = _plus(leaders, fresh, -1)", "back = _plus(moved, fresh, -1)", "test_nest::test_published_reference_nests"),
    Mutant("counts: sums that nobody adds are not read back", "hwsim/mapping/counts.py", "back if tree else _plus(back, added)", "back", "test_nest::test_row_stationary_with_ragged_everything"),
    Mutant("counts: words that are fresh in a child are those of its leaders", "hwsim/mapping/counts.py", "fresh = _plus(moved, back, -1)", "fresh = _plus(leaders, back, -1)", "test_nest::test_published_reference_nests"),
    Mutant("counts: stride and dilation are not reduced", "hwsim/mapping/counts.py", "u // gcd(u, d), dims.index(r), d // gcd(u, d)", "u, dims.index(r), d", "test_nest::test_any_nest"),
    Mutant("nest: places of an axis are rounded down", "hwsim/mapping/nest.py", "extents.get(loop.spatial, 1) * -(-current[loop.dim] // loop.tile)", "extents.get(loop.spatial, 1) * (current[loop.dim] // loop.tile)", "test_mapping_nest::test_spatial_extents_multiply_on_an_axis"),
    Mutant("capacity: a word more fits", "hwsim/mapping/capacity.py", "elif sum(need.values()) > capacity:", "elif sum(need.values()) > capacity + 8:", "test_mapping_nest::test_what_just_fits_fits_and_a_bit_less_does_not"),
    Mutant("capacity: a word more of one tensor fits", "hwsim/mapping/capacity.py", "if bits > capacity.get(tensor, 0):", "if bits > capacity.get(tensor, 0) + 8:", "test_mapping_nest::test_what_just_fits_fits_and_a_bit_less_does_not"),
    Mutant("capacity: partial sums are as narrow as outputs", "hwsim/mapping/capacity.py", ".sum_bits if memory in wide", ".bits if memory in wide", "test_mapping_search::test_the_search_is_brute_force_on_small_problems"),
    # The cost and the search.
    Mutant("cost: edp is a sum", "hwsim/mapping/search.py", '"edp": energy * ticks', '"edp": energy + ticks', "test_mapping_search::test_the_objective_is_what_its_name_says"),
    Mutant("sparse array: a run is cut a zero too late", "hwsim/kernels/sparse_formats.py", "    cuts = gaps // span\n", "    cuts = np.maximum(gaps - 1, 0) // span\n", "test_sparse_array"),
    Mutant("npu: a step of a depthwise layer has one tap", "hwsim/machines/npu/block.py", "steps, turns, step = -(-taps // _TAPS), 1, max(_WEIGHTS, _STEP * plane)", "steps, turns, step = taps, 1, max(_WEIGHTS, _STEP * plane)", "test_npu::test_a_depthwise_layer_by_hand"),
    Mutant("npu: each layer has the whole cache of weights", "hwsim/machines/npu/machine.py", "            left -= kept\n", "            left -= 0\n", "test_npu::test_an_edge_tpu_streams_what_it_cannot_keep"),
    Mutant("npu: blocks need not fit", "hwsim/machines/npu/block.py", "cost = np.where(fits, cost, np.inf)", "cost = np.where(fits, cost, cost)", "test_npu::test_a_depthwise_layer_by_hand"),
    Mutant("cpu: threads do not wait for each other", "hwsim/machines/cpu/placement.py", 'cost.cycles["contended"] += more * alone', 'cost.cycles["contended"] += 0 * alone', "test_application_cores::test_threads_share_caches_and_dram"),
    Mutant("sparse array: empty columns take no cycle", "hwsim/machines/sparse_array/rows.py", "np.maximum(-(-entries // pes.multipliers[0]), pes.empty)", "-(-entries // pes.multipliers[0])", "test_sparse_array"),
    Mutant("sparse array: a broadcast waits for the fastest PE", "hwsim/machines/sparse_array/rows.py", "room = starts[count % queue][:vectors].max(axis=1)", "room = starts[count % queue][:vectors].min(axis=1)", "test_sparse_array"),
    Mutant("sparse array: planes wait for the mean PE", "hwsim/machines/sparse_array/plane.py", "cycles += steps.max(axis=1).sum() * scale", "cycles += steps.mean(axis=1).sum() * scale", "test_sparse_array"),
    Mutant("sparse array: padding is multiplied", "hwsim/machines/sparse_array/work.py", "return rows * cols / (z.p * z.q * z.r * z.s)", "return 1.0", "test_sparse_array"),
    Mutant("sparse array: weights of the channels are in reverse", "hwsim/workload/layers/conv.py", "grouped.sum((1, 3)).ravel().tolist()", "grouped.sum((1, 3)).ravel().tolist()[::-1]", "test_sparse_array"),
    Mutant("compressed: entries of all columns count", "hwsim/validation/compressed.py", "entries += counts.weight_reads", "entries += coded.values.size", "test_sparse_array"),
    Mutant("llm: prompts take no time", "hwsim/serving/steps.py", "return alone + further + self.slowdown", "return alone + further + 0 * self.slowdown", "test_token_load"),
    Mutant("llm: a preempted cache stays", "hwsim/serving/batching.py", "self._used -= self.inputs[request] + generated - 1", "self._used -= 0", "test_token_load"),
    Mutant("llm: a full cache takes more", "hwsim/serving/batching.py", "self._used + running + kept > self.capacity", "self._used > self.capacity", "test_token_load"),
    Mutant("llm: every rank has all heads", "hwsim/workload/transformer/network.py", "return self.model.heads // self.tp", "return self.model.heads", "test_llm"),
    Mutant("llm: a window keeps all tokens", "hwsim/workload/transformer/model.py", "return bool(self.window) and block % self.window_every == 0", "return False", "test_llm"),
    Mutant("llm: all of the memory is free", "hwsim/serving/memory.py", "int((self.size_bytes or 0) * self.share)", "int(self.size_bytes or 0)", "test_llm"),
    Mutant("llm: static power of one rank", "hwsim/serving/served.py", "energy = self.tp * (dynamic + self.machine.prices.static_w * 1e12 / rate)", "energy = self.tp * dynamic + self.machine.prices.static_w * 1e12 / rate", "test_llm"),
    Mutant("collective: a ring moves each byte once", "hwsim/machines/gpu/collective.py", "else 2 * (ranks - 1) / ranks", "else (ranks - 1) / ranks", "test_collectives"),
    Mutant("gpu: groups have no scales", "hwsim/machines/gpu/timing.py", "(bits + 16 / self.menu.group) / 8", "bits / 8", "test_weight_only"),
    Mutant("gpu: scores that others read are fused", "hwsim/workload/attention_pattern.py", "if p in network and readers[p] == [name]", "if p in network", "test_attention_pattern"),
    Mutant("cost: edp of the search is a sum", "hwsim/mapping/_search.pyx", "key[0] = energy * ticks", "key[0] = energy + ticks", NEST),
    Mutant("cost: drains need no bandwidth", "hwsim/machines/pe_array/spatial.py", "every = [counter for counter, part in _counters(array, problem) if part == name]", "every = [counter for counter, part in _counters(array, problem) if part == name and counter[2] != 'drain']", "test_spatial::test_a_bandwidth_is_of_all_that_moves_in_and_out"),
    Mutant("cost: a port moves nothing out", "hwsim/machines/pe_array/spatial.py", '(("fill", "update"), ("read", "drain")):', '(("fill", "update"),):', "test_spatial::test_a_narrow_port_binds"),
    Mutant("cost: units that share a memory's words are rounded down", "hwsim/mapping/cost.py", "bits = -(-bits // counted.instances)", "bits = bits // counted.instances", "test_mapping_search::test_units_share_what_their_memories_move"),
    Mutant("cost: the first tile takes longer than all loads", "hwsim/mapping/cost.py", "min(first, load)", "first", "test_mapping_search::test_the_first_load_is_one_of_all_loads"),
    Mutant("search: a bound leaves no hope a percent too early", "hwsim/mapping/_search.pyx", "if a < s.best.key[0] * (1 - 1e-11):\n        return 1\n    return a <=", "if a < s.best.key[0] * (1 - 1e-2):\n        return 1\n    return 0 and a <=", NEST),
    Mutant("search: classes of a transfer are added in its bound", "hwsim/mapping/_search.pyx", "v = fhigh(v, s.product[depth][k] * s.rest[depth][k])", "v = v + s.product[depth][k] * s.rest[depth][k]", NEST),
    Mutant("search: passes of Eyeriss are cut off too early", "hwsim/machines/pe_array/_rs_search.pyx", "if best >= 0 and goal(", "if best >= 0 and 1.1 * goal(", "test_row_stationary_laws test_eyeriss"),
    # Energy.
    Mutant("energy: nodes lie on a line, not on log-log axes", "hwsim/energy/scaling.py", "log(node_nm / nodes[0]) / log(nodes[-1] / nodes[0])", "(node_nm - nodes[0]) / (nodes[-1] - nodes[0])", "test_energy::test_a_node_between_two_published_ones_lies_on_their_line_in_log_log_axes"),
    Mutant("energy: a price is of any word", "hwsim/energy/price.py", "else self.energy_pj * bits / self.bits", "else self.energy_pj", "test_energy::test_plans_weigh_the_price_that_follows"),
    Mutant("energy: DRAM shrinks with the node of the chip", "hwsim/energy/price.py", "not entry.off_chip", "True", "test_energy::test_the_price_of_dram_does_not_change_with_the_node_of_the_chip"),
    Mutant("energy: a lower supply saves energy of DRAM too", "hwsim/energy/price.py", "(1.0 if on_chip == 1 or prices.off_chip(key[0]) else on_chip)", "on_chip", "test_gpu::test_a_board_at_its_limit_slows_down"),
    Mutant("energy: an SRAM beyond the table costs as the last one", "hwsim/energy/table.py", "    x = math.log(size_bytes)", "    x = min(math.log(size_bytes), logs[-1][0])", "test_energy::test_sram_reads_grow_with_size_and_in_proportion_to_width"),
    # The arena of TFLM.
    Mutant("arena: of equal buffers the first comes first", "hwsim/workload/arena.py", "key=lambda i: -sizes[i]", "key=lambda i: (-sizes[i], i)", "test_arena::test_known_arenas"),
    Mutant("arena: a tensor is gone while its last reader runs", "hwsim/workload/arena.py", "(lasts >= buffer.first)", "(lasts > buffer.first)", "test_arena::test_lists_and_arrays_place_alike"),
    Mutant("arena: a tensor is not held by its last reader", "hwsim/workload/arena.py", "lists = [held[op] for op in range(buffer.first, buffer.last + 1)]", "lists = [held[op] for op in range(buffer.first, max(buffer.last, buffer.first + 1))]", "test_arena::test_known_arenas"),
    Mutant("arena: a gap must be wider than its buffer", "hwsim/workload/arena.py", ">= size)", "> size)", "test_arena::test_lists_and_arrays_place_alike"),
    Mutant("arena: a gap must be wider than its buffer, by lists", "hwsim/workload/arena.py", "floor >= sizes[index]", "floor > sizes[index]", "test_arena::test_known_arenas"),
    Mutant("arena: buffers are aligned to 8 bytes", "hwsim/workload/arena.py", "ALIGNMENT_BYTES = 16", "ALIGNMENT_BYTES = 8", "test_arena::test_a_shortcut_is_kept"),
    # The store.
    Mutant("store: results of a batch size are those of another", "hwsim/sweeps/evaluation.py", "{point.batch} {model_revision()}", "{model_revision()}", "test_sweep_run::test_a_sweep_that_is_told_twice_simulates_once"),
    Mutant("store: results of another model are taken", "hwsim/sweeps/evaluation.py", "{point.batch} {model_revision()}", "{point.batch}", "test_sweep_run::test_results_of_another_revision_are_not_taken"),
    Mutant("store: tables of constants are no part of the model", "hwsim/sweeps/revision.py", '(".py", ".so", ".pyd", ".yaml", ".csv")', '(".py", ".so", ".pyd")', "test_revision::test_a_constant_changes_the_digest"),
    Mutant("store: a killed point is never repeated", "hwsim/sweeps/store.py", "elif outcome.error is not None and not outcome.error.startswith(DIED):", "elif outcome.error is not None:", "test_sweep_store::test_a_point_whose_worker_died_is_simulated_again"),
    Mutant("store: the checksum is not looked at", "hwsim/sweeps/record.py", " and checksum == _checksum(parts)", "", "test_sweep_store::test_an_edited_number_is_told_and_simulated_again"),
    Mutant("store: the error of a row is not in its checksum", "hwsim/sweeps/record.py", "_checksum((texts[0], texts[1], layers, texts[2]))", "_checksum((texts[0], texts[1], layers, None))", "test_sweep_store::test_no_damaged_result_is_used_and_no_sound_one_is_lost"),
    # Readers.
    Mutant("onnx: SAME_UPPER pads above", "hwsim/workload/onnx/windows.py", 'if auto == "SAME_UPPER" else', 'if auto == "SAME_LOWER" else', "test_onnx::test_the_odd_row_of_padding_is_where_its_name_says"),
    Mutant("onnx: a sequence is padded as a column", "hwsim/workload/onnx/windows.py", "pads = (0, pads[0], 0, pads[1]) if rank == 1 else pads", "pads = (pads[0], 0, pads[1], 0) if rank == 1 else pads", "test_onnx::test_a_convolution_of_a_sequence"),
    Mutant("tflite: strides of rows and columns change places", "hwsim/workload/tflite/parameters.py", 'strides = options["stride_h"], options["stride_w"]', 'strides = options["stride_w"], options["stride_h"]', "test_tflite::test_traces"),
    Mutant("tflite: a product of batches is not transposed", "hwsim/workload/tflite/products.py", 'op.options.get("adj_x"), op.options.get("adj_y")', 'op.options.get("adj_y"), op.options.get("adj_x")', "test_tflite::test_products_of_batches_are_transposed_as_the_file_says"),
    Mutant("csv: strides of rows and columns change places", "hwsim/workload/topology.py", 'for side in ("height", "width")', 'for side in ("width", "height")', "test_workload_table::test_scale_sim_strides_of_rows_and_columns"),
    # Units.
    Mutant("units: a Kib is 1000 bits", "hwsim/units.py", "Fraction(2**power * scale, 8) for p, power", "Fraction(10**(power * 3 // 10) * scale, 8) for p, power", "test_units::test_quantities"),
    Mutant("units: words of a rate have whole bytes", "hwsim/units.py", "self.amount * Fraction(word_bits, 8)", "self.amount * (word_bits // 8)", "test_units::test_words_need_not_be_of_whole_bytes"),
    Mutant("units: 1023.9 B is a KiB", "hwsim/units.py", "if size >= 2**power:", "if size >= 2**power - 1:", "test_units::test_sizes_are_written_in_binary_units"),
    # GPU.
    Mutant("gpu: a wave that is not full is part of one", "hwsim/machines/gpu/tiles.py", "waves = np.ceil(per_sm / q)", "waves = per_sm / q", "test_gpu::test_measured_products_and_convolutions"),
    Mutant("gpu: a tile of a cluster runs alone", "hwsim/machines/gpu/tiles.py", "2 * np.ceil(gm / 2)", "gm", "test_gpu::test_a_cluster_of_two_tiles_runs_whole"),
    Mutant("gpu: operands have one stage in shared memory", "hwsim/machines/gpu/tiles.py", "stage = 2 * q *", "stage = 1 * q *", "test_gpu::test_a_tile_must_fit_an_sm"),
    Mutant("gpu: split sums are written and not read", "hwsim/machines/gpu/tiles.py", "4 * (s + 1) * b * m * n", "4 * s * b * m * n", "test_gpu::test_a_split_moves_partial_sums_through_l2"),
    Mutant("gpu: writes that L2 holds back are never waited for", "hwsim/machines/gpu/tiles.py", "dram + write_bytes / dram_rate - core", "0.0 * core", "test_gpu::test_what_dram_still_has_to_write_is_waited_for"),
    # Processors.
    Mutant("cpu: the rest of a cut is lost", "hwsim/machines/cpu/tiles.py", "[(most, full), (rest, 1)] if rest else", "", "test_cpu::test_a_walk_by_hand"),
    Mutant("cpu: a partial step is free", "hwsim/machines/cpu/tiles.py", "steps = -(-depth // ports.depth)", "steps = depth // ports.depth", "test_cpu::test_a_step_that_is_not_full_takes_as_long_as_a_full_one"),
    Mutant("cpu: the first rows are walked twice", "hwsim/machines/cpu/tiles.py", "                        down -= 1\n", "", "test_cpu::test_a_walk_by_hand"),
    Mutant("cpu: the first slice is added to nothing", "hwsim/machines/cpu/tiles.py", "sums * (slices - 1)", "sums * slices", "test_cpu::test_a_walk_by_hand"),
    # Clusters.
    Mutant("cluster: a ring may use a link again", "hwsim/machines/cluster/rings.py", "self._take(ring, -1)", "self._take(ring, 0)", "test_cluster::test_rings_share_no_link"),
    Mutant("cluster: a direction is never given up", "hwsim/machines/cluster/rings.py", "        done = self._search(rings)\n", "        done = False\n", "test_cluster::test_no_other_rings_are_more"),
    Mutant("cluster: an all-reduce is half a ring", "hwsim/machines/cluster/way.py", '(2 if self.op == "all_reduce" and self.name == "ring" else 1)', "1", "test_cluster::test_no_algorithm_of_endpoints_beats_the_ring_bound"),
    Mutant("cluster: the last chunk is not gathered", "hwsim/kernels/collectives.py", "(rank + 1 - step) % ranks]].copy()", "(rank - step) % ranks]].copy()", "test_cluster::test_executed_all_reduce"),
    Mutant("cluster: nodes do not bound the bandwidth", "hwsim/machines/cluster/machine.py", "least = rate if way is None else min(rate, way.bytes_per_s)", "least = rate if way is None else way.bytes_per_s", "test_cluster::test_no_algorithm_of_endpoints_beats_the_ring_bound"),
    Mutant("parallel: a stage runs one micro-batch ahead too few", "hwsim/parallel/events.py", "min(micro, stages - 1 - place)", "min(micro, max(0, stages - 2 - place))", "test_parallel::test_bubble_of_a_pipeline"),
    Mutant("parallel: a bucket leaves too late", "hwsim/parallel/events.py", "if size >= least:", "if size > 2 * least:", "test_parallel::test_a_bucket_leaves_when_it_is_full"),
    Mutant("parallel: a border has all rows of a window", "hwsim/parallel/volume.py", "(x.geometry.r - 1)", "x.geometry.r", "test_parallel::test_halos"),
    # Microcontrollers.
    Mutant("mcu: the last tap on the image is on padding", "hwsim/workload/taps.py", "last = end - 1 + before", "last = end - 2 + before", "test_mcu::test_units_and_cycles_by_hand"),
    Mutant("mcu: a column of patches has 8-bit values", "hwsim/machines/mcu/features.py", "else 4 * shape.taps * shape.channels", "else 2 * shape.taps * shape.channels", "test_mcu::test_the_column_of_patches_is_scratch"),
    Mutant("mcu: biases beside 16-bit inputs have 32 bits", "hwsim/machines/mcu/features.py", '(8 if number_format(layer).startswith("int16") else 4)', "4", "test_mcu::test_biases_beside_16_bit_inputs_have_64_bits"),
    Mutant("mcu: four channels are narrow", "hwsim/machines/mcu/features.py", "shape.channels < _NARROW", "shape.channels <= _NARROW", "test_mcu::test_units_and_cycles_by_hand"),
    Mutant("mcu: groups share a patch", "hwsim/machines/mcu/features.py", "pixels * shape.taps * shape.groups", "pixels * shape.taps", "test_mcu::test_units_and_cycles_by_hand"),
]
# fmt: on


def copy(folder: Path) -> Path:
    """A copy of the project that may be changed."""
    left_out = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "*.pyc")
    return Path(shutil.copytree(ROOT, folder / "hwsim", ignore=left_out))


def builds() -> bool:
    """Whether compiled files can be built here: by Cython, and a setuptools of `hwsim/_build.py`."""
    return all(map(find_spec, ("Cython", "setuptools", "setuptools.modified")))


def run(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the copy, on the modules of the copy."""
    path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH", ""))))
    # Options of the caller, as -n of several processes, change the exit code of a run that ends at its first failure.
    beside = {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "CI": "true", "PYTEST_ADDOPTS": ""}
    return subprocess.run(
        [sys.executable, *command], cwd=root, env=os.environ | beside, capture_output=True, text=True, timeout=LIMIT_S,
        check=False,
    )  # fmt: skip


def verdict(root: Path, mutant: Mutant) -> tuple[bool, str]:
    """Whether the tests notice the fault, and the test that does."""
    path = root / mutant.file
    right = path.read_bytes()
    path.write_text(mutant.source(root))
    compiled = path.with_suffix("").as_posix().removeprefix(f"{root}/").replace("/", ".")
    try:
        if path.suffix == ".pyx" and (build := run(root, "-c", BUILD, compiled)).returncode:
            return False, f"does not build: {build.stderr[-300:]}"
        result = run(root, "-m", "pytest", "-qx", "-p", "no:cacheprovider", *mutant.nodes())
    except subprocess.TimeoutExpired:
        return True, f"no end after {LIMIT_S} s"
    finally:
        path.write_bytes(right)
        if path.suffix == ".pyx":
            for built in path.parent.glob(f"{path.stem}.*.so"):
                shutil.copy2(ROOT / built.relative_to(root), built)
    lines = [line for line in result.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return result.returncode == 1, lines[0][:120] if lines else f"exit code {result.returncode}"


def main() -> int:
    """Run the mutants whose names match."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description="Mutation testing of hwsim.")
    parser.add_argument("names", nargs="*", default=["*"], help="patterns of names, as 'arena*'")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time")
    parser.add_argument("--sample", type=int, metavar="N", help="so many of them, drawn")
    parser.add_argument("--seed", default="0", help="of the draw")
    parser.add_argument("--passed", action="store_true", help="all tests passed just before: they are not run first")
    options = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if any(fnmatch(mutant.name, name) for name in options.names)]
    if not builds():
        built = [mutant for mutant in chosen if mutant.file.endswith(".pyx")]
        chosen = [mutant for mutant in chosen if mutant not in built]
        if built:
            print(f"{len(built)} mutants of compiled files are left out: Cython and setuptools build them")
    if options.sample is not None:
        chosen = Random(options.seed).sample(chosen, min(options.sample, len(chosen)))
    survivors: list[str] = []
    done, begin = 0, time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        copies: SimpleQueue[Path] = SimpleQueue()
        for job in range(options.jobs):
            copies.put(copy(Path(folder) / str(job)))

        if not options.passed:  # a test that fails of something else would seem to notice every fault
            root = copies.get()
            nodes = sorted({node for mutant in chosen for node in mutant.nodes()})
            whole = run(root, "-m", "pytest", "-qx", "-p", "no:cacheprovider", *nodes)
            copies.put(root)
            if whole.returncode:
                print(whole.stdout[-2000:] + "the tests must pass without a fault first")
                return 2
            print(f"{len(nodes)} tests pass without a fault, after {time.monotonic() - begin:.0f} s", flush=True)
            begin = time.monotonic()

        def judge(mutant: Mutant) -> None:
            nonlocal done
            root, start = copies.get(), time.monotonic()
            try:
                killed, why = verdict(root, mutant)
            finally:
                copies.put(root)
            if not killed:
                survivors.append(mutant.name)
            done += 1
            word = "killed  " if killed else "SURVIVED"
            left = (time.monotonic() - begin) / done * (len(chosen) - done) / 60
            print(
                f"{done:3}/{len(chosen)}  {word} {time.monotonic() - start:4.0f} s, about {left:.0f} min left  "
                f"{mutant.name}  [{why}]",
                flush=True,
            )

        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(judge, chosen))
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} mutants killed")
    for name in survivors:
        print(f"survived: {name}")
    return bool(survivors) or not chosen


if __name__ == "__main__":
    sys.exit(main())
