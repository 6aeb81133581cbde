"""Who uses the app: visitors and their tabs, and the limits of what is kept for them."""
