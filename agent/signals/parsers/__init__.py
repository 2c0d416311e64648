"""Text that Linux prints in, values out; each parser raises ParseError and nothing else."""
