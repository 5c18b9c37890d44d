"""The HTTP side: routes to mount in any FastAPI app, the server API, and the demo page."""
