"use strict";
// Rows in the order of a column's data-value, the other way round at the second click; cells without one stay last.
function sort(table, column, head) {
  const descending = head.getAttribute("aria-sort") === "ascending";
  for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const key = (row) => row.cells[column].dataset.value;
  const rows = Array.from(table.tBodies[0].rows);
  rows.sort((a, b) => {
    const [left, right] = [key(a), key(b)];
    if (left === "" || right === "") return (left === "") - (right === "");
    const numbers = Number(left) - Number(right);
    const order = Number.isNaN(numbers) ? left.localeCompare(right) : numbers;
    return descending ? -order : order;
  });
  table.tBodies[0].append(...rows);
}

function sortable(table) {
  Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => sort(table, column, head));
  });
}
