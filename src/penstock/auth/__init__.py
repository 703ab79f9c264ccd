"""Who a peer is and what it may do. Knows neither sockets nor frames."""
