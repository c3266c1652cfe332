"""The imperative shell: the outer loop and everything it writes."""
