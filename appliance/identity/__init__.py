"""People and programs: accounts, sessions, API tokens, the code of the first setup, back-off on guessing."""
