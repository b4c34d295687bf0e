"""What this machine is: CPU, memory that is really available, and the devices that the engine can use."""
