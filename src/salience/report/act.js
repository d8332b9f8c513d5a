"use strict";
const all = (query, root = document) => [...root.querySelectorAll(query)];

// Tables: a click on a heading sorts, numbers as numbers, empty cells last.
const content = (cell) => cell.dataset.value ?? cell.textContent.trim();
function compare(a, b, sign) {
  if (a === "" || b === "") return (a === "") - (b === "");
  const [x, y] = [Number(a), Number(b)];
  return sign * (Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y);
}
for (const button of all("table.sortable th button")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th");
    const table = heading.closest("table");
    const descending = heading.getAttribute("aria-sort") === "ascending";
    all("th[aria-sort]", table).forEach((th) => th.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const body = table.tBodies[0];
    const rows = [...body.rows].sort((a, b) =>
      compare(content(a.cells[heading.cellIndex]), content(b.cells[heading.cellIndex]), descending ? -1 : 1));
    body.append(...rows);
  });
}
for (const input of all("input[data-filters]")) {
  const rows = () => [...document.getElementById(input.dataset.filters).tBodies[0].rows];
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows()) row.hidden = !words.every((w) => row.textContent.toLowerCase().includes(w));
  });
}

// Downloads: a table as CSV, a picture as it is. Text that a spreadsheet would run gets a quote.
function offer(name, url) {
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
}
function cell(text) {
  const value = Number.isNaN(Number(text)) && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return `"${value.replaceAll('"', '""')}"`;
}
function csv(table) {
  const lines = [...table.rows].map((row) => [...row.cells].map((c) => cell(content(c))).join(","));
  return `${lines.join("\n")}\n`;
}
for (const button of all("button[data-table]")) {
  button.addEventListener("click", () => {
    const url = URL.createObjectURL(new Blob([csv(document.getElementById(button.dataset.table))], { type: "text/csv" }));
    offer(`${button.dataset.name}.csv`, url);
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  });
}
for (const button of all("button[data-picture]")) {
  button.addEventListener("click", () => offer(button.dataset.name, all("img", button.closest("figure"))[0].src));
}

// The gallery: which examples are shown, in which order, and how strong the colours are.
for (const gallery of all("section.gallery")) {
  const [show, by, method] = ["show", "by", "method"].map((name) => all(`select[name=${name}]`, gallery)[0]);
  const list = all(".examples", gallery)[0];
  const said = all("output", gallery)[0];
  const articles = all("article", list);
  const keep = {
    all: () => true,
    right: (a) => a.dataset.right === "true",
    wrong: (a) => a.dataset.right === "false",
    disagreement: (a) => Number(a.dataset.place) < Math.max(1, Math.ceil(articles.length / 3)),
  };
  const sorters = {
    order: (a) => Number(a.dataset.order),
    disagreement: (a) => -Number(a.dataset.disagreement || "-Infinity"),
    confidence: (a) => Number(a.dataset.confidence || "Infinity"),
  };
  const score = (a) => JSON.parse(a.dataset.scores)[by.value]?.[method.value] ?? null;
  const higher = () => by.selectedOptions[0].dataset.higher === "true";
  function update() {
    const key = Object.hasOwn(sorters, by.value) ? sorters[by.value] : (a) => {
      const value = score(a);
      return value === null ? Infinity : higher() ? -value : value;
    };
    method.disabled = Object.hasOwn(sorters, by.value);
    const keys = new Map(articles.map((a) => [a, key(a)]));
    const sorted = [...articles].sort((a, b) => (keys.get(a) - keys.get(b)) || (a.dataset.order - b.dataset.order));
    list.append(...sorted);
    for (const a of articles) a.hidden = !keep[show.value](a);
    said.textContent = `${articles.filter((a) => !a.hidden).length} of ${articles.length} examples`;
  }
  for (const control of [show, by, method]) control.addEventListener("change", update);
  for (const slider of all("input[type=range]", gallery)) {
    slider.addEventListener("input", () => all(".stack img + img", gallery).forEach((i) => { i.style.opacity = slider.value; }));
  }
  update();
}

// Paper shows what the screen folds away, but for pages of numbers that a figure already shows, unless they are open.
const folded = () => all("details").filter((d) => !d.matches("figure details, .bulk"));
addEventListener("beforeprint", () => folded().forEach((d) => { d.dataset.was = d.open; d.open = true; }));
addEventListener("afterprint", () => folded().forEach((d) => { d.open = d.dataset.was === "true"; }));
