"""The use case: from the bytes somebody sent to what is said of each picture, over HTTP and offline alike."""
