"""The service: a REST interface with sessions, storage, an audit log and a page, all behind one process.

``app.create_app`` puts it together; ``client.Client`` talks to it. Needs ``pip install "stereolive[serve]"``; nothing
here is imported by the rest of the package but ``command``, which imports the rest only when a command of its own
runs.
"""
