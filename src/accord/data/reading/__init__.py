"""From a source to what is in its cells: tables, folders, shards and graphs; pictures, clips, recordings, labels."""
