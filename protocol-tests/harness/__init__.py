"""What the suites share: a hub under test, isolated git clients, wire codecs, repository shapes and malformed packs.

Start with hub.py (the server under test) and client.py (git as a user has it).
"""
