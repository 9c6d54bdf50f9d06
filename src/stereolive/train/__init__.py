"""Training: depth stage, liveness stage, joint stage, export. Needs the extra ``train``."""
