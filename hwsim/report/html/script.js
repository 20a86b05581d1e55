// The page works without this: it sorts tables by a column and shows titles of shapes at once.
(() => {
  const tip = document.createElement("div");
  tip.className = "hwsim-tip";
  tip.hidden = true;
  const titles = new WeakMap();
  document.addEventListener("pointermove", (event) => {
    const shape = event.target.closest?.(".hwsim .chart :is(rect,circle,path,line)");
    if (shape && !titles.has(shape)) {
      const title = shape.querySelector("title");
      titles.set(shape, title ? title.textContent : "");
      title?.remove();
    }
    const text = shape && titles.get(shape);
    tip.hidden = !text;
    if (!text) return;
    if (!tip.isConnected) document.body.append(tip);
    tip.textContent = text;
    const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
    const below = event.clientY + 18;
    tip.style.left = `${Math.max(left, 4)}px`;
    tip.style.top = `${below + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 10 : below}px`;
  });
  for (const table of document.querySelectorAll(".hwsim table.sorts")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      head.setAttribute("aria-sort", "none");
      const button = document.createElement("button");
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const key = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent;
        const rows = [...table.tBodies[0].rows].map((row) => [key(row), row]);
        const order = (a, b) => {
          const [x, y] = [parseFloat(a), parseFloat(b)];
          if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1;
          const found = Number.isNaN(x) ? a.localeCompare(b) : x - y;
          return down ? -found : found;
        };
        rows.sort(([a], [b]) => order(a, b));
        table.tBodies[0].append(...rows.map(([, row]) => row));
      });
    });
  }
})();
