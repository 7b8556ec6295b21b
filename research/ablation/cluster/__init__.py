"""Waves trained on other machines: by Ray, or by Slurm through submitit; neither is scheduled by this package."""
