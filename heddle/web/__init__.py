"""The dashboard: web pages that are a skin over `heddle.control`."""
