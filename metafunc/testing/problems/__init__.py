"""What identities are checked on: small problems, random draws, and expectations summed exactly."""
