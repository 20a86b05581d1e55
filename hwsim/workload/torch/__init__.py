"""PyTorch modules as networks: exported by `torch.export`, read operator by operator. Weights are never looked at."""

from __future__ import annotations

import warnings
from typing import Any

from hwsim.errors import HwsimWarning, InputError
from hwsim.workload.network import Workload
from hwsim.workload.torch.converter import Converter
from hwsim.workload.torch.operators import MAKERS
from hwsim.workload.torch.program import export

__all__ = ["from_torch"]


def from_torch(model: Any, *args: Any, name: str = "", **kwargs: Any) -> Workload:
    """The network that a PyTorch module computes for inputs of some shapes.

    Only shapes and types matter: a model on the ``meta`` device, which has no values, is read as any other, so that a
    language model of 70 billion parameters takes seconds and no memory.

    Parameters
    ----------
    model : torch.nn.Module
        It is exported as in ``model.eval()``.
    *args, **kwargs
        Example inputs of its `forward`, each with the batch as its first axis. The network is that of one input: if
        `torch.export` cannot keep the size of the batch open, the examples must have a batch of one.
    name : str
        Default: the name of the class.

    Returns
    -------
    Workload
        Layers are named as in the module tree (``layer1.0.conv1``), and after the operator where a module runs several.
        A batch normalization behind a convolution is folded into it, an activation is fused into what it follows.

    Raises
    ------
    InputError
        If PyTorch is not installed, or cannot export the model.

    Warns
    -----
    HwsimWarning
        Of operators without a model: they become rows of their bytes without MACs.

    Examples
    --------
    >>> import torch, torchvision  # doctest: +SKIP
    >>> net = from_torch(torchvision.models.resnet50(), torch.zeros(1, 3, 224, 224))  # doctest: +SKIP
    >>> hwsim.simulate("a100", net, batch=32).summary.latency_s  # doctest: +SKIP
    """
    try:
        import torch
    except ImportError:
        raise InputError("from_torch needs PyTorch: pip install torch") from None
    if not isinstance(model, torch.nn.Module):
        raise InputError(f"from_torch must be given a torch.nn.Module, not a {type(model).__name__}")
    program, batch = export(model, args, kwargs)
    converter = Converter(program, batch, MAKERS)
    network = converter.network(name or type(model).__name__)
    for fact in converter.builder.facts():
        warnings.warn(str(fact), HwsimWarning, stacklevel=2)
    return network
