"""Publishing from other processes reaches the clients of hubs, over real servers."""
