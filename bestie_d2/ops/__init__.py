"""Pure functions on tensors and arrays: heat maps, offsets, connected components."""
