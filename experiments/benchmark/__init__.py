"""The benchmark: what is timed (`steps`, `torch_steps`, `metrics`) and how (`timing`, `worker`)."""
