"""Everything that a training would read, read beforehand and told of in one report."""
