"""Frames of one video -> boxes around animals, found without a click, each with a score.

Three ways: `motion` (what moves before a still background), `exemplar` (what looks like an animal clicked elsewhere),
`text` (what a detector finds for a phrase). A score of 1 is as sure as the way can be and 0 is a guess; what it means
differs between ways, so a threshold is chosen for each. None of them knows names.
"""

from sheep.prompts.detectors.frames import Proposal, Still, thin

__all__ = ["Proposal", "Still", "thin"]
