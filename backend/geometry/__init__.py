"""Geometry shared by the methods: cameras, meshes, grids. Imports nothing above it."""
