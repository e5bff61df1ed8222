"""The logit lens: the tokens each layer points to, and from where on they part by class."""

from theodolite.mechanism.lens.consistency import tic_correlation, topk_consistency
from theodolite.mechanism.lens.emotion_curve import EmotionCurve
from theodolite.mechanism.lens.logit_lens import LensResult

__all__ = ["EmotionCurve", "LensResult", "tic_correlation", "topk_consistency"]
