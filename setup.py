"""The packages of the wheel: `understudy` as it lies here, with flows/, tasks/ and deployments/ as parts of it."""

from setuptools import find_namespace_packages, setup

MAPPED = ["flows", "tasks", "deployments"]

setup(packages=[*find_namespace_packages(include=["understudy", "understudy.*"]), *(f"understudy.{p}" for p in MAPPED)])
