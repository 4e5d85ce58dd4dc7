"""Exports of annotation tools, one file a tool, as this project's points and tags."""
