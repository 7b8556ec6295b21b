"""What `scripts/benchmark/speed.py` is made of: workloads, contestants, the processes they run in, and the report."""
