"""What can be searched: files of photos, the samples, and the libraries of this machine."""
