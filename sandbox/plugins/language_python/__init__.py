"""The host of Python programs: the engine asks it to run the project's program in the project's virtual environment."""
