"""The offline phase: backbone heads, experts and generator."""
