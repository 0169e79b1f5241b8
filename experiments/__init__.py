"""The paper's experiments and their kin, one command each: `python -m experiments.digits --help`."""
