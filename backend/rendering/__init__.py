"""Renderers shared by the methods. Imports geometry only."""
