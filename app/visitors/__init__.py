"""What the app keeps of each visitor, for how long, and where."""
