"""``detect_moments``: when something happens in recordings, by a model that was taught from labels of whole ones."""

from accord.pipeline.detection.verb import Detected, detect_moments

__all__ = ["Detected", "detect_moments"]
