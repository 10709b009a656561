"""Headless training of the methods that need weights: imports backend, never bpy."""
