// The file of an enlarged photo of a library has come. Gradio passes element and props.
element.addEventListener("drawn", () => {
  const [key, file] = props.value.split(" ");
  const large = document.querySelector(`.sg-view[data-key="${key}"] img`);
  if (file && large) large.src = file;
});
