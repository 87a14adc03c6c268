"""The REST door: the methods of the contract over HTTP and JSON, by their google.api.http annotations."""
