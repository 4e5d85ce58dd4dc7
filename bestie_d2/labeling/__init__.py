"""Making instance labels: semantic knowledge transfer, grouping, self-refinement."""
