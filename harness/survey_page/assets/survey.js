// Conveniences of the survey: filters. The page can be read without them.

// --- which rows and columns are shown
const runtime = document.getElementById("runtime");
const machine = document.getElementById("machine");
const limit = document.getElementById("limit");
const bad = document.getElementById("bad");
const heads = all(".survey thead th[data-column]");
const rows = all(".survey tbody tr").map((row) => ({
  row, name: row.dataset.runtime, fields: all("td", row), bad: all("td", row).map((td) => Boolean(td.querySelector(".w-dies, .w-hangs"))),
}));
const groups = all(".group").map((group) => ({ group, name: group.dataset.runtime, cells: all("details.cell", group) }));
function sift() {
  const wanted = runtime.value.toLowerCase().split(/\s+/);
  const named = (name) => wanted.every((word) => name.includes(word));
  const columns = heads.map((head) =>
    (!machine.value || head.dataset.machine === machine.value) && (!limit.value || head.dataset.limit === limit.value));
  // without a field that does not start, a row or a column has nothing to show
  const kept = rows.map((each) => named(each.name) && (!bad.checked || columns.some((shown, at) => shown && each.bad[at])));
  const used = columns.map((shown, at) => shown && rows.some((each, row) =>
    kept[row] && (bad.checked ? each.bad[at] : each.fields[at].firstElementChild)));
  heads.forEach((head, at) => { head.hidden = !used[at]; });
  rows.forEach((each, row) => {
    each.row.hidden = !kept[row] || !each.fields.some((field, at) => used[at] && field.firstElementChild);
    each.fields.forEach((field, at) => { field.hidden = !used[at]; });
  });
  for (const each of groups) {
    const at = rows.findIndex((row) => row.name === each.name);
    each.group.hidden = rows[at].row.hidden;
    for (const cell of each.cells) {
      const column = Number(cell.dataset.column);
      cell.hidden = !used[column] || (bad.checked && !rows[at].bad[column]);
    }
  }
  const count = rows.filter((each) => !each.row.hidden).length;
  document.getElementById("shown").textContent = `${count} of ${rows.length} runtimes, ${used.filter(Boolean).length} of ${heads.length} address spaces`;
}
runtime.addEventListener("input", sift);
for (const each of [machine, limit, bad]) each.addEventListener("change", sift);
sift();

reveal();
