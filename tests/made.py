"""Machines and libraries made for tests: round numbers, so that what comes out can be worked by hand."""

MCU_LIBRARY = """
name: mine
family: mine
source: test
fitted: "nothing: round numbers"
core: cortex-m4
code: optimized
dead_channels: drop
costs: {pointwise_mac: 2, conv_mac: 3, narrow_mac: 4, depthwise_mac: 5, depthwise_output: 40, dense_mac: 6, output: 30,
        dense_output: 50, patch: 10, patch_byte: 1, element: 20, averaged: 7, compared: 3, softmax: 100, operator: 1000}
cores: {cortex-m4: {fitted: "test"}}
memory: {code: 16 KiB, ram: 1 KiB, operator: 100 B, channel: 8 B, source: test}
"""


def processor(cores: int) -> str:
    """A processor's file as its owner would write it."""
    return f"""
kind: cpu
name: made
source: "made for the test"
clocks: {{core: 3 GHz}}
core: zen4
cores: {cores}
library: onnxruntime-1.31
memories: {{l2: {{size: 1 MiB}}, l3: {{size: 32 MiB}}, dram: {{bandwidth: 50 GB/s}}}}
"""
