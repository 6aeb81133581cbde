// Offers each table as a file. Gradio passes element.
element.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-csv]");
  if (!link) return;
  const cells = (row) => [...row.cells].map((cell) => `"${cell.textContent.replaceAll('"', '""')}"`).join(",");
  const csv = [...link.closest("p").previousElementSibling.querySelectorAll("tr")].map(cells).join("\n");
  link.href = `data:text/csv;charset=utf-8,${encodeURIComponent(csv + "\n")}`;
});
