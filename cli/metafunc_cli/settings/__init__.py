"""What the commands are given: generated settings, options, and how a command line becomes them."""
