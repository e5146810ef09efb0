"""The networks: SAM-2 as a streaming tracker, DINOv2 as a backbone."""
