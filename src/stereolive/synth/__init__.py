"""Rendering of presentations: heads, instruments, lights and sensors become image pairs with exact depth."""
