"""Run trainers/commands/test.py. Worker processes import this file again, so that its top stays empty."""

if __name__ == "__main__":
    from configs.errors import run_cli
    from trainers.commands.test import main

    run_cli(main)
