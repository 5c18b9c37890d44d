"""Several hubs behind one real server, and what befalls them."""
