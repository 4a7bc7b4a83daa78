"use strict";
const table = document.querySelector("table.board");
const choice = document.querySelector("#sort");

// Rows without a value stay last, whichever way the others go.
function sortBy(index, descending) {
  const body = table.tBodies[0];
  const value = (row) => row.cells[index].dataset.value;
  const rows = [...body.rows].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === "" || y === "") return (x === "") - (y === "");
    const order = index === 0 ? x.localeCompare(y) : x - y;
    return descending ? -order : order;
  });
  body.append(...rows);
  [...table.tHead.rows[0].cells].forEach((cell, i) => {
    if (i === index) cell.setAttribute("aria-sort", descending ? "descending" : "ascending");
    else cell.removeAttribute("aria-sort");
  });
  if (choice) choice.value = index;
}

if (table) {
  [...table.tHead.rows[0].cells].forEach((cell, index) => {
    cell.querySelector("button").addEventListener("click", () => {
      const now = cell.getAttribute("aria-sort");
      sortBy(index, now ? now === "ascending" : index > 0);
    });
  });
  choice.addEventListener("change", () => sortBy(Number(choice.value), choice.value > 0));
}

// The reader's choice of light or dark outlasts the page where the browser allows it.
const root = document.documentElement;
const dark = () => (root.style.colorScheme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
try {
  root.style.colorScheme = localStorage.getItem("flue-bench-theme") || "";
} catch {}
document.querySelector("#theme").addEventListener("click", () => {
  root.style.colorScheme = dark() ? "light" : "dark";
  try {
    localStorage.setItem("flue-bench-theme", root.style.colorScheme);
  } catch {}
});

// A number leads to what lies behind it, which is folded away until then.
function unfold() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target && target.tagName === "DETAILS") {
    target.open = true;
    target.scrollIntoView();
  }
}
addEventListener("hashchange", unfold);
unfold();
