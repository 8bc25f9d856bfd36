// The table page: a window of rows in a long list.

import { countText, percentText, printable, sizeShort } from "./units.js";
import { byId, element, oncePerFrame, readData } from "./dom.js";
import { filterRows, sortRows, visibleRows } from "./rows.js";
import { setUpPage } from "./page.js";

const TABLE_ROW_HEIGHT = 27;

class TablePage {
  constructor() {
    this.data = readData();
    const { rows, strings } = this.data;
    this.total = rows.bytes.reduce((sum, bytes) => sum + bytes, 0);
    this.columns = [
      { name: "Size", values: rows.bytes, isNumber: true, cell: (row) => sizeShort(rows.bytes[row]) },
      { name: "Share", values: rows.bytes, isNumber: true, isBar: true, cell: (row) => `${percentText(rows.bytes[row], this.total)} %` },
      { name: "Allocator", values: rows.allocator, cell: (row) => strings[rows.allocator[row]] },
      { name: "Allocations", values: rows.count, isNumber: true, cell: (row) => countText(rows.count[row]) },
      { name: "Location", values: rows.function, isLocation: true, cell: (row) => this.functionOf(row) },
    ];
    for (const [name, values] of [["Thread", rows.thread], ["Process", rows.process]]) {
      if (values !== undefined) {
        this.columns.unshift({ name, values, isSearched: true, cell: (row) => printable(strings[values[row]]) || "?" });
      }
    }
    this.sorted = { column: this.columns.find((column) => column.name === "Size"), direction: -1 };
    this.texts = new Array(rows.bytes.length);
    setUpPage(this.data.meta, "memray table", () => {});
    this.buildHeader();
    this.redraw = oncePerFrame(() => this.draw());
    byId("rows").addEventListener("scroll", this.redraw);
    new ResizeObserver(this.redraw).observe(byId("rows"));
    byId("search").addEventListener("input", () => this.update());
    document.addEventListener("keydown", (event) => this.key(event));
    byId("empty").hidden = rows.bytes.length > 0;
    byId("rows").hidden = rows.bytes.length === 0;
    this.update();
  }

  functionOf(row) {
    return printable(this.data.strings[this.data.rows.function[row]]) || "<unnamed>";
  }

  placeOf(row) {
    const { rows, strings } = this.data;
    const file = printable(strings[rows.file[row]]);
    return rows.line[row] === 0 ? file : `${file}:${rows.line[row]}`;
  }

  textOf(row) {
    const owners = this.columns.filter((column) => column.isSearched).map((column) => column.cell(row));
    const allocator = this.data.strings[this.data.rows.allocator[row]];
    return (this.texts[row] ??= `${this.functionOf(row)} at ${this.placeOf(row)} ${allocator} ${owners.join(" ")}`.toLowerCase());
  }

  buildHeader() {
    for (const column of this.columns) {
      const button = element("button", { type: "button" }, column.name);
      column.header = element("th", { scope: "col", className: column.isNumber ? "number" : column.name.toLowerCase() }, button);
      button.addEventListener("click", () => this.sortBy(column));
      byId("header").append(column.header);
    }
  }

  sortBy(column) {
    const isSame = this.sorted.column === column;
    this.sorted = { column, direction: isSame ? -this.sorted.direction : column.isNumber ? -1 : 1 };
    this.update();
  }

  update() {
    const { column, direction } = this.sorted;
    const order = sortRows(column.values, column.isNumber ? null : this.data.strings, direction);
    this.order = filterRows(order, (row) => this.textOf(row), byId("search").value);
    for (const each of this.columns) {
      each.header.setAttribute("aria-sort", each !== column ? "none" : direction < 0 ? "descending" : "ascending");
    }
    const shown = this.order.reduce((sum, row) => sum + this.data.rows.bytes[row], 0);
    const rows = `${countText(this.order.length)} of ${countText(this.texts.length)} rows`;
    byId("matched").textContent = `${rows}, ${sizeShort(shown)} (${percentText(shown, this.total)} %)`;
    byId("rows").scrollTop = 0;
    this.redraw();
  }

  draw() {
    const scroller = byId("rows");
    const { first, last } = visibleRows(scroller.scrollTop, scroller.clientHeight, TABLE_ROW_HEIGHT, this.order.length);
    const lines = [];
    for (let place = first; place < last; place++) {
      lines.push(this.line(this.order[place], place));
    }
    const gap = (rows) => {
      const cell = element("td", { colSpan: this.columns.length });
      cell.style.height = `${rows * TABLE_ROW_HEIGHT}px`;
      return element("tr", { className: "gap" }, cell);
    };
    byId("body").replaceChildren(gap(first), ...lines, gap(this.order.length - last));
    byId("rows").firstElementChild.setAttribute("aria-rowcount", this.order.length);
  }

  line(row, place) {
    const cells = this.columns.map((column) => {
      const cell = element("td", { className: column.isNumber ? "number" : "" }, column.cell(row));
      if (column.isBar) {
        cell.className += " share";
        cell.style.setProperty("--share", `${this.total > 0 ? (100 * this.data.rows.bytes[row]) / this.total : 0}%`);
      }
      if (column.isSearched) {
        cell.title = column.cell(row);
      }
      if (column.isLocation) {
        const where = this.placeOf(row);
        cell.className = "location";
        cell.title = `${column.cell(row)} at ${where}`.slice(0, 1000);
        if (where !== "") {
          cell.append(element("span", { className: "place" }, ` at ${where}`));
        }
      }
      return cell;
    });
    const line = element("tr", {}, ...cells);
    line.setAttribute("aria-rowindex", place + 1);
    return line;
  }

  key(event) {
    if (event.key === "/" && document.activeElement !== byId("search")) {
      byId("search").focus();
      event.preventDefault();
    } else if (event.key === "Escape" && !byId("facts-dialog").open && byId("search").value !== "") {
      byId("search").value = "";
      this.update();
    }
  }
}

new TablePage();
