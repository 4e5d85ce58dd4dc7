"""Pictures of data, labels, maps and instances."""
