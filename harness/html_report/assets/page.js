// Conveniences of the report: arrow keys in the matrix, filtering. The page can be read without them.

// --- the matrix: one stop for Tab, arrows within
const table = document.querySelector(".matrix");
if (table) {
  const rows = all("tbody tr:not(.part)", table).map((row) => all("td", row).map((td) => all("a", td)));
  table.setAttribute("role", "grid");
  const links = rows.flat(2);
  const stop = (link) => {
    for (const each of links) each.tabIndex = -1;
    link.tabIndex = 0;
  };
  if (links.length) stop(links[0]);
  table.addEventListener("focusin", (event) => {
    const link = event.target.closest("a");
    if (link) stop(link);
  });
  const find = (row, column, down, across) => {
    // the next field in this direction with a cell
    for (row += down, column += across; rows[row]?.[column]; row += down, column += across) {
      if (rows[row][column].length) return rows[row][column][0];
      if (!down && !across) return null;
    }
    return null;
  };
  table.addEventListener("keydown", (event) => {
    if (event.altKey || event.metaKey) return;
    const link = event.target.closest("a");
    if (!link) return;
    const row = rows.findIndex((fields) => fields.some((field) => field.includes(link)));
    const column = rows[row].findIndex((field) => field.includes(link));
    const ends = { Home: [-1, 1], End: [rows[row].length, -1] };
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    let next = null;
    if (moves[event.key] && !event.ctrlKey) {
      const field = rows[row][column];
      const beside = field[field.indexOf(link) + moves[event.key][1]];
      next = (moves[event.key][1] && beside) || find(row, column, ...moves[event.key]);
    } else if (ends[event.key]) {
      const [from, step] = ends[event.key];
      const line = event.ctrlKey ? (event.key === "Home" ? 0 : rows.length - 1) : row;
      next = find(line, from, 0, step);
    } else return;
    event.preventDefault();
    next?.focus();
  });
}

// --- which cells are shown
const cells = all("details.cell");
const filter = document.getElementById("filter");
const only = document.getElementById("only");
const words = new Map(cells.map((cell) => [
  cell, `${cell.querySelector(".where b").textContent} ${cell.firstElementChild.textContent}`.toLowerCase(),
]));
function sift() {
  const wanted = filter.value.toLowerCase().split(/\s+/);
  let count = 0;
  for (const cell of cells) {
    const bad = cell.matches(".r-fail, .r-error");
    cell.hidden = (only.checked && !bad) || !wanted.every((word) => words.get(cell).includes(word));
    count += !cell.hidden;
  }
  for (const group of all(".group")) group.hidden = !group.querySelector(".cell:not([hidden])");
  document.getElementById("shown").textContent = count < cells.length ? `${count} of ${cells.length} cells` : "";
}
filter.addEventListener("input", sift);
only.addEventListener("change", sift);
const openAll = (open) => { for (const cell of cells) if (!cell.hidden) cell.open = open; };
document.getElementById("open").addEventListener("click", () => openAll(true));
document.getElementById("close").addEventListener("click", () => openAll(false));

// --- a small run is printed with all cells open
let opened = [];
addEventListener("beforeprint", () => {
  if (!document.body.classList.contains("small")) return;
  opened = all(".cell:not([open]), .guest:not([open])");
  for (const each of opened) each.open = true;
});
addEventListener("afterprint", () => {
  for (const each of opened) each.open = false;
});

reveal();
