"""Laws of using a finished model."""
