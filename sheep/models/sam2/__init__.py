"""SAM-2 (Ravi et al. 2024, arXiv 2408.00714) as a streaming tracker whose memory does not grow with the video."""
