"""Search: a corpus is embedded once, its rows kept by LanceDB, and asked with words, pictures or vectors by faiss."""
