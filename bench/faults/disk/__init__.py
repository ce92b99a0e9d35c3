"""Disks without room at every command that writes."""
