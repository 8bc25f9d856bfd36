// The flame graph page: data, state and events.

import { countText, percentText, sizeShort } from "./units.js";
import { byId, element, oncePerFrame, readData } from "./dom.js";
import { FLAGS, childrenOf, foldTree, matchFrames, matchedTotals, pathTo } from "./tree.js";
import { boxOf, rowOf } from "./layout.js";
import { FlameCanvas, boxLabel, describeNode } from "./flame.js";
import { isDark, setUpPage } from "./page.js";

const PATH_ENDS = 4;
const TOOLTIP_LETTERS = 400;

class FlamegraphPage {
  constructor() {
    this.data = readData();
    const [canvas, scroller, spacer, outline] = ["flame", "scroller", "spacer", "outline"].map(byId);
    this.flame = new FlameCanvas({ canvas, scroller, spacer, outline }, this.data);
    this.view = { tree: null, focus: 0, matches: null, selected: -1, isInverted: false };
    this.redraw = oncePerFrame(() => this.flame.draw());
    this.relayout = oncePerFrame(() => this.layout());
    setUpPage(this.data.meta, "memray flame graph", () => this.changeTheme());
    this.listen();
    this.flame.setTheme(isDark());
    this.fold();
  }

  listen() {
    byId("hide-irrelevant").addEventListener("change", () => this.fold());
    byId("hide-imports").addEventListener("change", () => this.fold());
    byId("invert").addEventListener("change", () => this.flip());
    byId("reset").addEventListener("click", () => this.zoom(0));
    byId("search").addEventListener("input", () => this.search());
    const scroller = byId("scroller");
    scroller.addEventListener("scroll", this.redraw);
    scroller.addEventListener("pointermove", (event) => this.hover(event));
    scroller.addEventListener("pointerleave", () => this.leave());
    scroller.addEventListener("click", (event) => this.click(event));
    scroller.addEventListener("keydown", (event) => this.key(event));
    scroller.addEventListener("blur", () => this.leave());
    scroller.addEventListener("focus", () => {
      if (scroller.matches(":focus-visible")) {
        this.select(this.view.selected < 0 ? this.view.focus : this.view.selected);
      }
    });
    document.addEventListener("keydown", (event) => this.globalKey(event));
    new ResizeObserver(this.relayout).observe(scroller);
  }

  /** The tree anew, after a change of what is hidden. The zoomed frame stays if it is still there. */
  fold() {
    const before = this.view.tree;
    const path = before === null ? [] : pathTo(before, this.view.focus).slice(1).map((node) => before.frame[node]);
    const hidden =
      (byId("hide-irrelevant").checked ? FLAGS.irrelevant : 0) | (byId("hide-imports").checked ? FLAGS.importSystem : 0);
    const tree = foldTree(this.data.nodes, this.data.frames.flags, hidden);
    const isHidden = (frame) => (this.data.frames.flags[frame] & hidden) !== 0;
    this.view = { ...this.view, tree, focus: findPath(tree, path, isHidden), selected: -1 };
    byId("empty").hidden = tree.total[0] > 0 || tree.count[0] > 0;
    byId("graph").hidden = !byId("empty").hidden;
    this.layout();
    this.showMatches();
  }

  layout() {
    this.flame.layout(this.view);
    this.showPath();
    this.redraw();
  }

  flip() {
    this.view.isInverted = byId("invert").checked;
    this.layout();
    byId("scroller").scrollTop = this.view.isInverted ? byId("spacer").offsetHeight : 0;
  }

  changeTheme() {
    this.flame.setTheme(isDark());
    this.redraw();
  }

  zoom(node) {
    this.view.focus = node;
    this.layout();
    this.flame.reveal(this.flame.boxes.focusRow);
    this.showMatches();
  }

  search() {
    this.view.matches = matchFrames(this.data.frames, this.data.strings, byId("search").value);
    this.showMatches();
    this.redraw();
  }

  showMatches() {
    const { tree, matches, focus } = this.view;
    let text = "";
    if (matches !== null) {
      const { bytes, nodes } = matchedTotals(tree, matches, focus);
      const scope = focus === 0 ? "" : " of the zoomed frame";
      const share = `${percentText(bytes, tree.total[focus])} %${scope}`;
      text = nodes === 0 ? "no match" : `${sizeShort(bytes)} (${share}) in ${countText(nodes)} frames`;
    }
    byId("matched").textContent = text;
  }

  /** The way to the zoomed frame, its middle left out if it is long. */
  showPath() {
    const path = pathTo(this.view.tree, this.view.focus);
    byId("reset").disabled = path.length === 1;
    const shown = path.length <= 2 * PATH_ENDS ? path : [...path.slice(0, PATH_ENDS), null, ...path.slice(-PATH_ENDS)];
    byId("path").replaceChildren(...shown.map((node) => this.pathItem(node, path.length - 2 * PATH_ENDS)));
  }

  pathItem(node, leftOut) {
    if (node === null) {
      return element("li", {}, `… ${countText(leftOut)} more …`);
    }
    const text = node === 0 ? "all" : this.nameOf(node).slice(0, 60);
    const button = element("button", { type: "button", title: node === 0 ? "" : this.nameOf(node) }, text);
    button.addEventListener("click", () => this.zoom(node));
    if (node === this.view.focus) {
      button.setAttribute("aria-current", "true");
    }
    return element("li", {}, button);
  }

  nameOf(node) {
    return boxLabel(this.data.frames, this.data.strings, this.view.tree.frame[node]).name;
  }

  hover(event) {
    const box = this.flame.boxAtPoint(event.clientX, event.clientY);
    this.flame.showOutline(box);
    this.showTooltip(box < 0 ? -1 : this.flame.boxes.node[box], event.clientX, event.clientY);
  }

  leave() {
    this.flame.showOutline(-1);
    byId("tooltip").hidden = true;
  }

  describe(node) {
    const { tree, focus } = this.view;
    const lines = describeNode(this.data, tree, node, focus);
    lines.push(["count", `${countText(tree.count[node])} allocations`]);
    return lines;
  }

  showTooltip(node, x, y) {
    const tooltip = byId("tooltip");
    tooltip.hidden = node < 0;
    if (node < 0) {
      return;
    }
    const shorten = (text) => (text.length > TOOLTIP_LETTERS ? `${text.slice(0, TOOLTIP_LETTERS)}…` : text);
    tooltip.replaceChildren(...this.describe(node).map(([name, value]) =>
      element("div", { className: name }, name === "own" ? `${value} in the frame itself` : shorten(value))));
    const { width, height } = tooltip.getBoundingClientRect();
    tooltip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - width - 8))}px`;
    tooltip.style.top = `${y + 18 + height > innerHeight ? Math.max(4, y - height - 12) : y + 18}px`;
  }

  click(event) {
    const box = this.flame.boxAtPoint(event.clientX, event.clientY);
    if (box >= 0) {
      this.view.selected = this.flame.boxes.node[box];
      this.zoom(this.view.selected);
    }
  }

  select(node) {
    const box = boxOf(this.flame.boxes, node);
    if (box < 0) {
      return;
    }
    this.view.selected = node;
    this.flame.reveal(rowOf(this.flame.boxes, box));
    byId("selection").textContent = this.describe(node).map(([, value]) => value).join(", ");
    this.redraw();
  }

  /** For those who select with keys what others see under the pointer. */
  showTooltipOfSelection() {
    const place = this.flame.placeOf(boxOf(this.flame.boxes, this.view.selected));
    if (place !== null) {
      this.showTooltip(this.view.selected, place.left, place.bottom - 14);
    }
  }

  key(event) {
    const { tree, selected, focus } = this.view;
    const node = selected < 0 ? focus : selected;
    const siblings = childrenOf(tree, tree.parent[node]);
    const place = siblings.indexOf(node);
    const [inwards, outwards] = this.view.isInverted ? ["ArrowUp", "ArrowDown"] : ["ArrowDown", "ArrowUp"];
    const next = {
      [inwards]: childrenOf(tree, node)[0],
      [outwards]: tree.parent[node],
      ArrowRight: siblings[place + 1],
      ArrowLeft: siblings[place - 1],
    };
    if (event.key === "Enter") {
      this.zoom(node);
    } else if (event.key in next) {
      if (next[event.key] !== undefined) {
        this.select(next[event.key]);
        this.showTooltipOfSelection();
      }
    } else {
      return;
    }
    event.preventDefault();
  }

  globalKey(event) {
    if (event.key === "/" && document.activeElement !== byId("search")) {
      byId("search").focus();
      event.preventDefault();
    } else if (event.key === "Escape" && !byId("facts-dialog").open) {
      if (byId("search").value !== "") {
        byId("search").value = "";
        this.search();
      } else {
        this.zoom(0);
      }
    }
  }
}

/** The node at the end of a path of frames, as far as it goes in this tree; hidden frames are stepped over. */
function findPath(tree, path, isHidden) {
  let node = 0;
  for (const frame of path) {
    if (isHidden(frame)) {
      continue;
    }
    const next = childrenOf(tree, node).find((child) => tree.frame[child] === frame);
    if (next === undefined) {
      break;
    }
    node = next;
  }
  return node;
}

new FlamegraphPage();
