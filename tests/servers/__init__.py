"""Real throwaway servers for tests, the demo and benchmarks. Loopback only, each with a password and a life of its own.

    with MariaDbServer() as server:
        connection = server.connect("mysql")

A server is gone when its block ends, when the process ends, and when the process is killed with SIGKILL.
"""
