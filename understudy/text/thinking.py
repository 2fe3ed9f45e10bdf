"""
The arguments of every chat template of the student, wherever a conversation becomes tokens.

Training, scoring, the importance matrix and the exported file must agree: a model trained without thinking and
prompted with it answers in a format it never saw.
"""

TEMPLATE_ARGUMENTS: dict[str, bool] = {"enable_thinking": False}
"""Templates that do not know a name ignore it."""
