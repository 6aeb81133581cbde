"""The command line. It imports torch only to run a command, so that ``--help`` and usage errors are instant."""
