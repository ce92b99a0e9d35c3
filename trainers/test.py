"""Entry script of `trainers/commands/test.py`. Workers import it again: nothing heavy may stand at its top."""

if __name__ == "__main__":
    from configs.errors import run_cli
    from trainers.commands.test import main

    run_cli(main)
