"""The clock that a processor keeps under vector load, from what its data sheet says.

Neither base nor turbo: the power that the cores may draw is TDP, that of a core goes with the third power of its clock
and with the width of its vector unit, so that the clock goes with (TDP / (cores x width))^(1/3), higher on a later
node. The vendor's base clock knows of the part what this rule does not; the geometric mean of both is taken.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated

from pydantic import Field, model_validator

from hwsim.fields import Frequency, Length, Power, Share, Spec

__all__ = ["RuleSpec", "SustainedSpec", "sustained_hz"]

_MHZ = 10**6


class SustainedSpec(Spec):
    """What the data sheet says: base and turbo clock, TDP of a socket, and whether it is a server part."""

    base: Frequency
    turbo: Frequency
    tdp: Power
    server: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> SustainedSpec:
        if self.turbo < self.base:
            raise ValueError("turbo must be at least base")
        if not self.tdp:
            raise ValueError("tdp must be more than zero")
        return self


class RuleSpec(Spec):
    """The rule's constants."""

    scale: Annotated[float, Field(gt=0)]
    node: Annotated[float, Field(ge=0)]
    server: Annotated[float, Field(gt=0)]
    efficient: Share
    ceiling: Share
    smallest_node: Length
    source: str
    fitted: str


def sustained_hz(sheet: SustainedSpec, rule: RuleSpec, cores: float, width: float, node_nm: float) -> Fraction:
    """The clock in Hz, to a whole MHz.

    Parameters
    ----------
    cores : float
        Cores under load, an efficient one counted as the rule says.
    width : float
        32-bit multiply-adds of a core in a cycle over 16, at least 1.
    """
    node = max(node_nm, float(rule.smallest_node) * 1e9)
    power = rule.scale * (14 / node) ** rule.node * (float(sheet.tdp) / (cores * max(1.0, width))) ** (1 / 3)
    clock = (float(sheet.base) / 1e9 * power) ** 0.5 * (rule.server if sheet.server else 1.0)
    most = float(sheet.turbo) / 1e9 * (1.0 if sheet.turbo == sheet.base else rule.ceiling)
    return Fraction(max(1, round(min(clock, most) * 1000)) * _MHZ)
