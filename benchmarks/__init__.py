"""What a claim about speed or memory rests on: ratios measured side by side in one run, printed, never asserted."""
