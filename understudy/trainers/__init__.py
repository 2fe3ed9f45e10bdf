"""Fine-tuning backends: each tunes a base on chat rows and merges the adapter back into it."""
