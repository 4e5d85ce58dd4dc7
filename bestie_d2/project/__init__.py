"""The start of a project: data looked at, configurations and commands written."""
