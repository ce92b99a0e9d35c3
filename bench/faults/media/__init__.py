"""Damaged videos in every storage."""
