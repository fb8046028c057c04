"""The child process that runs models, and the client that talks to it; no Qt."""
