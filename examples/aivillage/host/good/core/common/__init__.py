"""What all services of the village share."""
