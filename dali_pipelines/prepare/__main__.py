"""The command `clipfeed prepare`."""

from configs.errors import run_cli
from dali_pipelines.prepare import main

if __name__ == "__main__":
    run_cli(main)
