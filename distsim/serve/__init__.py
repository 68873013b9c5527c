"""Views of predictions live on this machine: an HTTP server with a page and a JSON interface.

A request names a scenario as YAML text. It is evaluated in a worker process that reads no file but
shipped ones and ends at its time limit (`worker`, `fence`); the server itself only passes on what
workers say (`app`), and answers nobody but pages of its own (`guard`).
"""
