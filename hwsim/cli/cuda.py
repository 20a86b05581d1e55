"""``hwsim calibrate --device cuda``: measure a CUDA device and write it as a machine file."""

from __future__ import annotations

import sys
from typing import Literal

from hwsim.cli.options import console_of, print_written, write
from hwsim.errors import InputError

__all__ = ["calibrate_cuda"]


def calibrate_cuda(
    output: str,
    quick: bool,
    through: Literal["torch", "cupy"] | None = None,
    replay: str | None = None,
    record: str | None = None,
) -> None:
    """Measure a device, or replay a recording, write its machine file and print the results.

    Raises
    ------
    InputError
        If there is no library or device, or the recording is invalid.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from hwsim.calibration.gpu import Recorder, Recording, gpu_text, measure_device, open_device

    source = ""
    if replay is not None:
        if through or quick:
            raise InputError("--through and --quick must be left out with --replay, which measures no device")
        recording = Recording(replay)
        device, source = Recorder(recording, recording.source), recording.source
    else:
        device = Recorder(open_device(through, quick))
    columns = TextColumn("{task.description:<34}"), BarColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console_of(error=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=None)

        def tell(what: str, count: int, total: int) -> None:
            bar.update(task, description=what, completed=count, total=total)

        measurements = measure_device(device, tell)
    document = gpu_text(measurements, source=source)
    if record is not None:
        write(device.text(), record)
    write(document.text, output)
    console = console_of(error="-" in (output, record))
    gpu = device.properties
    console.print(f"{gpu.name}, {gpu.sms} SMs, compute capability {gpu.capability}; {gpu.software}")
    for line in document.lines:
        console.print(line, highlight=False)
    if output != "-":
        print_written(console, [output])
