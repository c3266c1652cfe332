"""From a meta-loss to its gradient on a machine: chunks, threads, tracing and compiling. It knows no learner."""
