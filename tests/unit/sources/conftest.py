"""A YouTube on this machine for each test."""

from tests.fixtures.youtube_server import youtube

__all__ = ["youtube"]
