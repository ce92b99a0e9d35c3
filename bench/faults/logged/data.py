"""Logged: CtP's samples, for a network that writes down which ones it was given."""

from dali_pipelines.tasks.ctp import Config, batch_schema, plan, program

__all__ = ["Config", "batch_schema", "plan", "program"]
