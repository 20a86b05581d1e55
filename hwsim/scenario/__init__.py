"""Scenarios: a machine that does not run all the time."""

from hwsim.energy.battery import BATTERIES, Battery, parse_battery
from hwsim.scenario.cycle import duty_cycle
from hwsim.scenario.result import DutyCycle
from hwsim.scenario.schedule import MAX_UNEQUAL

__all__ = ["BATTERIES", "MAX_UNEQUAL", "Battery", "DutyCycle", "duty_cycle", "parse_battery"]
