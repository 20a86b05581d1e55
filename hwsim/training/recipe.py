"""How one trains: number formats, optimizer, fusion, layout, accumulation, recomputation."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import Field

from hwsim.fields import Spec, Time, check
from hwsim.training.optimizer import OPTIMIZERS, Optimizer, OptimizerName
from hwsim.yaml_source import Document

__all__ = ["TrainingRecipe", "recipe_of"]


class TrainingRecipe(Spec):
    """How a network is trained.

    Attributes
    ----------
    precision : str
        ``fp32``; ``tf32``: fp32 in memory, rounded as tensor cores read it; ``mixed``: 16 bits but for sums, and
        weights of the optimizer.
    half : str
        The 16 bits of mixed precision: ``fp16`` or ``bf16``; "": fp16 on a GPU, what a processor has.
    optimizer : str
    fusion : str
        What of batch normalization, activation and addition is one pass over memory: ``none``, ``bn_relu``,
        ``bn_relu_add``, ``statistics`` (also the statistics come out of the convolution before).
    layout : str
        Of images: ``nhwc``, as tensor cores take them, or ``nchw``, which they are turned from and to.
    accumulate : int
        Batches whose gradients are summed before an update.
    recompute : bool
        Whether activations are computed again for the backward pass, segment by segment.
    loss_scaling : bool
        Of fp16: a pass over the gradients that unscales them and looks for infinities.
    host : Time
        Of the host to launch a kernel; a pass takes no less than that of all of its kernels. 0 where a graph of kernels
        is launched at once.
    dropout : bool
        Whether transformers drop values after the softmax of attention and before they are added.
    """

    precision: Literal["fp32", "tf32", "mixed"] = "fp32"
    half: Literal["", "fp16", "bf16"] = ""
    optimizer: OptimizerName = "momentum"
    fusion: Literal["none", "bn_relu", "bn_relu_add", "statistics"] = "none"
    layout: Literal["nhwc", "nchw"] = "nhwc"
    accumulate: Annotated[int, Field(ge=1, le=2**20, strict=True)] = 1
    recompute: bool = False
    loss_scaling: bool = True
    host: Time = Fraction(0)
    dropout: bool = True

    @property
    def update(self) -> Optimizer:
        """Its optimizer."""
        return OPTIMIZERS[self.optimizer]

    @property
    def mixed(self) -> bool:
        """Whether activations have 16 bits."""
        return self.precision == "mixed"

    @property
    def gradient_bytes(self) -> int:
        """Bytes of the gradient of a parameter."""
        return 2 if self.mixed else 4

    @property
    def weight_bytes(self) -> int:
        """Bytes of a parameter: the fp32 weight, and its 16-bit copy in mixed precision."""
        return 6 if self.mixed else 4

    @property
    def update_bytes(self) -> int:
        """Bytes that the update of a parameter moves."""
        fp32 = self.update.read + self.update.written
        return 4 * fp32 + self.gradient_bytes + (2 if self.mixed else 0) + self.scaling_bytes

    @property
    def sum_bytes(self) -> int:
        """Bytes of a parameter that adding the gradient of a batch to those before moves."""
        return self.gradient_bytes + 8

    @property
    def scaling_bytes(self) -> int:
        """Bytes of a parameter that the pass of loss scaling moves: it reads the gradient and writes it in fp32."""
        return self.gradient_bytes * 2 if self.mixed and self.loss_scaling and self.half != "bf16" else 0


def recipe_of(values: dict[str, Any]) -> TrainingRecipe:
    """A recipe of some values; InputError for those that are wrong."""
    return check(TrainingRecipe, Document("recipe", values))
