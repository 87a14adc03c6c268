"""What other services are sent when a job has ended: signed, to receivers of the administrator, until they answer."""
