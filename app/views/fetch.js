(file) => {
  if (!file) return null;
  const link = document.createElement('a');
  link.href = file.url;
  link.download = file.orig_name;
  link.click();
  return null; // emptied again, so that a click that writes nothing fetches nothing
}
