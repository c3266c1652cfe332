// Tables of the results sort by a click on a head, as those of a report do: by the number that a cell begins with.
document$.subscribe(({ body }) => {
  if (!location.pathname.endsWith("/results/")) return
  const text = (cell) => cell.textContent.trim()
  const number = (cell) => text(cell).match(/^[-+]?(\d[\d,]*(\.\d+)?|\.\d+)(e[-+]?\d+)?/i)?.[0].replaceAll(",", "")
  for (const table of body.querySelectorAll(".md-typeset table:not([data-sortable])")) {
    if (!table.tHead) continue  // lines of code, beside their numbers
    const rows = Array.from(table.tBodies[0].rows)
    for (const [column, head] of Array.from(table.tHead.rows[0].cells).entries()) {
      const cells = rows.map((row) => row.cells[column]), full = cells.filter(text)
      const value = full.filter(number).length * 2 >= full.length ? number : text
      for (const cell of cells) cell.dataset.value = value(cell) ?? ""
      const button = document.createElement("button")
      button.type = "button"
      button.append(...head.childNodes)
      head.append(button)
    }
    table.dataset.sortable = ""
    sortable(table)
  }
})
