"""A package, so that its fixtures end before other tests run: Playwright occupies the event loop of its thread."""
