"""The site: pages put together from the repository, and built by `nox -s site`."""
