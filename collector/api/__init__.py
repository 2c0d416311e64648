"""The JSON API under /api/v1: shapes (msgspec), routes, and the queries about hosts. Pages live in ``collector.web``."""
