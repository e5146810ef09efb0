"""Frames of one video -> boxes around animals, detected without a click, each with a score.

Three detectors: `motion` (what moves before a static background), `exemplar` (what resembles an animal prompted in
another video), `text` (what a zero-shot detector finds for a phrase). Scores run from 0 to 1 but mean something else
for each, so each needs a threshold of its own. None of them knows the animals' names.
"""

from sheep.prompts.detectors.frames import Detection, SampledFrame, sample

__all__ = ["Detection", "SampledFrame", "sample"]
