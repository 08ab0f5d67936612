"""From raw interactions to padded batches: catalogue, download, readers, filters, preparation and sequences."""
