"""The page: its layout, its steps, and the HTML that they show."""
