"""Fixed-point and feasibility problems, and derivatives through their solutions."""
