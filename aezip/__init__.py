"""Packs a collection of images into a decoder and a few bytes per image."""
