"""Run trainers/commands/probe.py. Worker processes import this file again, so that its top stays empty."""

if __name__ == "__main__":
    from configs.errors import run_cli
    from trainers.commands.probe import main

    run_cli(main)
