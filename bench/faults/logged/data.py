"""Logged: CtP's samples, for a network that logs which ones it gets."""

from dali_pipelines.tasks.ctp import Config, batch_schema, plan, program

__all__ = ["Config", "batch_schema", "plan", "program"]
