"""The thin service: takes small payloads, keeps them durable, forwards them to endpoints and pushes results back. It never unpickles anything."""
