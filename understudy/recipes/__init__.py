"""Recipes: what a teacher is asked for, prompts included."""
