"""Frames of one video -> boxes around animals, detected without a click, each with a score.

Three detectors: `motion` (regions that move before a static background), `exemplar` (regions that resemble an animal
prompted in another video), `text` (results of a zero-shot detector for a phrase). Scores run from 0 to 1 but have
another meaning for each, so each needs its own threshold. None of them recognises individual animals.
"""

from sheep.prompts.detectors.frames import Detection, SampledFrame, sample

__all__ = ["Detection", "SampledFrame", "sample"]
