"""Search: a corpus is embedded once, indexed with LanceDB, and asked with words, pictures or vectors."""
