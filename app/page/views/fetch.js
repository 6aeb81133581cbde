(file) => {
  if (!file) return null;
  const link = document.createElement('a');
  link.href = file.url;
  link.download = file.orig_name;
  link.click();
  return null; // empty the file, so that a click that writes nothing fetches nothing
}
