"""Start weights for the student: a small model made on the spot, or one from a hub or a folder."""
