"""What must hold for every loss and learner, one subject per file, and the table of all identities."""
