"""Where architectures that are not our own come from: a file for each source, with its `find(name, ..) -> Architecture`."""
