"""What the app keeps for each visitor, for how long, and where."""
