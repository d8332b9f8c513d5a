"""Drop-in subclasses of the Captum methods that loop over examples, features or samples, or that are wrong.

Each takes the arguments of the class it replaces and gives the same values for the same draws.
"""

from .ablation import FeatureAblation, Occlusion
from .deep_lift import DeepLift, DeepLiftShap
from .gradients import GradientShap, IntegratedGradients, NoiseTunnel
from .lrp import LRP
from .shapley import ShapleyValues, ShapleyValueSampling
from .surrogates import KernelShap, Lime

__all__ = [
    "LRP",
    "DeepLift",
    "DeepLiftShap",
    "FeatureAblation",
    "GradientShap",
    "IntegratedGradients",
    "KernelShap",
    "Lime",
    "NoiseTunnel",
    "Occlusion",
    "ShapleyValueSampling",
    "ShapleyValues",
]
