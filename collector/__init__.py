"""The server: takes reports, decides in the tick, serves pages and API, and composes the whole program."""
