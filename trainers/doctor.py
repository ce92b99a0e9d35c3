"""Run trainers/commands/doctor.py. Worker processes import this file again, so that its top stays empty."""

if __name__ == "__main__":
    from configs.errors import run_command

    run_command("trainers.commands.doctor")
