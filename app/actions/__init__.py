"""What a visitor can do, one function an action. Each takes the engine and the tab, and returns plain data."""
