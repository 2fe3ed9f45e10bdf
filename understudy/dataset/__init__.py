"""What is known of a dataset: leakage, its description, its card, and the formats of other trainers."""
