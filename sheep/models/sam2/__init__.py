"""SAM-2 as a streaming tracker with bounded memory."""
