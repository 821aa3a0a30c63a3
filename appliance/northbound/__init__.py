"""HTTP for people and programs: JSON API, server-sent events, login, and the files of the page."""
