"""Download a channel's talks and models from where `push` uploaded them."""

from understudy.cli.push import main, options

__all__ = ["EXAMPLE", "main", "options"]

EXAMPLE = "understudy pull my-channel s3://bucket/understudy"
