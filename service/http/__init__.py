"""The API over HTTP: from a request to a document, every refusal in one form, and the page that shows it."""
