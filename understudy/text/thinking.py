"""
What every chat template of the student is told, wherever a conversation becomes tokens.

Trained, scored, weighed and exported models must be asked alike: a model trained without thinking and asked with it
answers in a form it never saw.
"""

TEMPLATE_ARGUMENTS: dict[str, bool] = {"enable_thinking": False}
"""Templates that do not know a name ignore it."""
