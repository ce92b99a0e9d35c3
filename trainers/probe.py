"""Run trainers/commands/probe.py. Worker processes import this file again, so its top level stays empty."""

if __name__ == "__main__":
    from configs.errors import run_command

    run_command("trainers.commands.probe")
