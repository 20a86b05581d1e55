"""Training: the step of a network on one device, from the gradients of its layers to the update of its weights."""

from hwsim.training.gradient import input_gradient, weight_gradient
from hwsim.training.memory import TrainingMemory
from hwsim.training.recipe import TrainingRecipe
from hwsim.training.share import Share
from hwsim.training.step import Step, StepLayer, train, training_step

__all__ = [
    "Share",
    "Step",
    "StepLayer",
    "TrainingMemory",
    "TrainingRecipe",
    "input_gradient",
    "train",
    "training_step",
    "weight_gradient",
]
