"""Real-time push for Python: WebSockets that miss nothing, in your FastAPI app or as a server of its own."""

__version__ = "0.1.0"
