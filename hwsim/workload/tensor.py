"""What a tensor is: its shape, its number format, how many of its values are not zero and how it is stored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias

from hwsim.errors import InputError, excerpt, items_of, nearest
from hwsim.workload.coding import Coding
from hwsim.workload.number_format import DTYPES, NAMES, SIGNS

if TYPE_CHECKING:
    from hwsim.workload.mask import Mask

__all__ = ["FORMATS", "N_OF_M", "PATTERNS", "TensorLike", "TensorSpec", "TensorType"]

#: Where the zeros are; an ``N:M`` pattern (N of every M values may differ from zero) is taken too.
PATTERNS = ("dense", "random", "channel", "block", "2:4")
#: How the values are stored.
FORMATS = ("dense", "rlc", "csr", "csc", "bitmask", "2:4", "codebook")

#: How far a density may be from the counts beside it: it may be rounded to a percent.
_ROUNDED = 0.0051

N_OF_M = re.compile(r"([1-9][0-9]?):([1-9][0-9]?)\Z")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """The type of a tensor without its shape.

    Parameters
    ----------
    dtype : str
        A key of `DTYPES`, or of `SIGNS`, which is read as ``int8`` of that sign. The default of the whole package is
        ``int8``, since quantized inference is its subject.
    density : float
        The share of values that are not zero, 0 to 1.
    pattern : str
        Where the zeros are: ``dense``, ``random``, ``channel``, ``block`` or ``N:M``. Left out, it is ``dense``
        for a density of 1 and ``random`` below.
    format : str
        How it is stored: one of `FORMATS`.
    signed : bool or None
        Whether 8-bit integers have a sign; None: as the kernels that run them like it best.
    array : str
        Of weights: the name of the stored array, where several layers read the same one. Empty: the layer's own.
    nonzeros : tuple of int
        Values that are not zero in each input channel (of an output: in each of its channels), where they are known;
        the density follows from them. Empty: not known.
    mask : Mask or None
        Which values are not zero, where that is known; counts and density follow from it.
    coding : Coding or None
        How stored values are coded beyond their format.
    """

    dtype: str = "int8"
    density: float = 1.0
    pattern: str = ""
    format: str = "dense"
    signed: bool | None = None
    array: str = ""
    nonzeros: tuple[int, ...] = ()
    mask: Mask | None = None
    coding: Coding | None = None

    def __post_init__(self) -> None:
        for field in ("dtype", "pattern", "format", "array"):
            if isinstance(text := getattr(self, field), str) and type(text) is not str:
                object.__setattr__(self, field, str.__str__(text))  # a class of the caller's own has its own methods
        if isinstance(self.dtype, str) and self.dtype in SIGNS:
            for field, value in zip(("dtype", "signed"), SIGNS[self.dtype], strict=True):
                object.__setattr__(self, field, value)
        if not isinstance(self.dtype, str) or self.dtype not in DTYPES:
            near = nearest(self.dtype, NAMES)
            raise InputError(f"dtype must be one of the known names, not {excerpt(self.dtype)}{near}")
        density = self.density
        if isinstance(density, bool) or not isinstance(density, (int, float)) or not 0 <= density <= 1:
            raise InputError(f"density must be a share from 0 to 1, not {excerpt(density)}")
        pattern = self.pattern or ("dense" if density == 1 else "random")
        limit = 1.0
        if match := N_OF_M.match(pattern) if isinstance(pattern, str) else None:
            limit = int(match[1]) / int(match[2])
            if limit >= 1:
                raise InputError(f"pattern must keep fewer values than there are, as '2:4', not {pattern!r}")
            density = limit if density == 1 else density
        elif pattern not in PATTERNS:
            raise InputError(
                f"pattern must be one of the known names, not {excerpt(pattern)}{nearest(pattern, PATTERNS)}"
            )
        if density > limit:
            raise InputError(f"density must be at most {limit} in a {pattern} pattern, not {density}")
        if pattern == "dense" and density < 1:
            raise InputError(f"density must be 1 in a dense pattern, not {density}")
        if not isinstance(self.array, str) or not (self.array == "" or self.array.isprintable()):
            raise InputError(f"array must be a name, not {excerpt(self.array)}")
        if self.format not in FORMATS:
            near = nearest(self.format, FORMATS)
            raise InputError(f"format must be one of the known names, not {excerpt(self.format)}{near}")
        if self.format == "2:4" and pattern != "2:4":
            raise InputError(f"pattern must be '2:4' where the format is, not {pattern!r}")
        object.__setattr__(self, "density", float(density))
        object.__setattr__(self, "pattern", pattern)
        counts = items_of(self.nonzeros)
        if counts is None or not all(isinstance(count, int) and 0 <= count < 2**40 for count in counts):
            raise InputError(
                f"nonzeros must be a list of how many values of each channel are not zero, not {excerpt(self.nonzeros)}"
            )
        object.__setattr__(self, "nonzeros", tuple(map(int, counts)))
        if self.mask is not None:
            from hwsim.workload.mask import Mask  # numpy is not needed without masks

            if not isinstance(self.mask, Mask):
                raise InputError(f"mask must be a Mask, not {excerpt(self.mask)}")
        if self.coding is not None and not isinstance(self.coding, Coding):
            raise InputError(f"coding must be a Coding, not {excerpt(self.coding)}")

    def agrees(self, density: float, share: float | None = None) -> None:
        """Raise InputError if a density, rounded to a percent, is not that of the mask or of the counts."""
        share = self.density if share is None else share
        if abs(density - share) > _ROUNDED:
            what = "mask" if self.mask is not None else "nonzeros"
            raise InputError(f"density must be that of {what}, {share:.4g}, or be left out, not {density:.4g}")

    def counted(self, shape: tuple[int, ...], channels: int) -> TensorSpec:
        """The spec of a tensor of a shape, its density from the mask or the counts where it has them.

        Raises
        ------
        InputError
            If they are not those of such a tensor.
        """
        if self.mask is None and not self.nonzeros:
            return self
        size = prod(shape)
        if self.mask is not None:
            if self.mask.shape != shape:
                raise InputError(f"mask must have the shape of the tensor, {list(shape)}, not {list(self.mask.shape)}")
            total = self.mask.nonzeros
        else:
            if len(self.nonzeros) != channels:
                raise InputError(f"nonzeros must be of {channels} channels, not {len(self.nonzeros)}")
            if max(self.nonzeros) > size // channels:
                raise InputError(f"nonzeros of a channel must be at most {size // channels}, not {max(self.nonzeros)}")
            total = sum(self.nonzeros)
        if self.density != 1:
            self.agrees(self.density, total / size if size else 1.0)
        pattern = self.pattern if self.pattern != "dense" or total == size else "random"
        return replace(self, density=total / size if size else 1.0, pattern=pattern)

    @property
    def bits(self) -> int:
        """Bits of one value."""
        return DTYPES[self.dtype].bits

    @property
    def name(self) -> str:
        """The number format with its sign: ``uint8``."""
        return next((name for name, kind in SIGNS.items() if kind == (self.dtype, self.signed)), self.dtype)

    @classmethod
    def of(cls, given: TensorLike) -> TensorSpec:
        """Read a dtype name, a mapping of fields, a spec or a tensor as a spec."""
        if isinstance(given, TensorSpec):
            return given
        if isinstance(given, TensorType):
            return given.spec
        if isinstance(given, str):
            return cls(given)
        if isinstance(given, Mapping):
            known = [field.name for field in fields(cls)]
            for key in given:
                if key not in known:
                    raise InputError(f"{key!r} is not a property of a tensor{nearest(key, known)}")
            return cls(**given)
        raise InputError(f"must be a dtype such as 'int8' or {{dtype: int8, density: 0.5}}, not {excerpt(given)}")

    def merged(self, changes: TensorLike) -> TensorSpec:
        """The spec with all of another spec, only the dtype of a name, or only the keys of a mapping changed."""
        if isinstance(changes, str):
            changes = {"dtype": changes}
        if not isinstance(changes, Mapping):
            return TensorSpec.of(changes)
        kept: dict[str, Any] = {"dtype": self.name, "format": self.format, "array": self.array, "coding": self.coding}
        if not {"density", "pattern", "nonzeros", "mask"} & changes.keys():  # a new density chooses its own pattern
            kept |= {"density": self.density, "pattern": self.pattern, "nonzeros": self.nonzeros, "mask": self.mask}
        return TensorSpec.of({**kept, **changes})


@dataclass(frozen=True, slots=True)
class TensorType:
    """A tensor of one inference: its shape and its `TensorSpec`; a shape of ``(0,)`` stands for no tensor."""

    shape: tuple[int, ...]
    spec: TensorSpec = TensorSpec()

    @property
    def dtype(self) -> str:
        """The name of its number format."""
        return self.spec.dtype

    @property
    def bits(self) -> int:
        """Bits of one value."""
        return self.spec.bits

    @property
    def signed(self) -> bool | None:
        """Whether its 8-bit integers have a sign; None: not said."""
        return self.spec.signed

    @property
    def density(self) -> float:
        """The share of values that are not zero."""
        return self.spec.density

    @property
    def pattern(self) -> str:
        """Where the zeros are."""
        return self.spec.pattern

    @property
    def format(self) -> str:
        """How it is stored."""
        return self.spec.format

    @property
    def elements(self) -> int:
        """How many values it has."""
        return prod(self.shape)

    def bytes(self, batch: int = 1) -> int:
        """Bytes of `batch` such tensors stored densely and packed, rounded up to whole bytes."""
        return -(-self.elements * self.bits * batch // 8)

    def with_(self, **changes: Any) -> TensorType:
        """A copy with other shape or spec fields."""
        shape = changes.pop("shape", self.shape)
        return replace(self, shape=shape, spec=self.spec.merged(changes))


TensorLike: TypeAlias = str | TensorSpec | TensorType | Mapping[str, Any]
