// The flame graph on a canvas. Only rows in sight are drawn: the canvas has the size of its window and stays in
// place while a spacer of the full height scrolls beneath it, since no browser has canvases of 4,000 rows.

import { percentText, printable, sizeShort } from "./units.js";
import { cssColor, frameColor } from "./color.js";
import { boxAt, layoutTree, rowOf } from "./layout.js";

export const ROW_HEIGHT = 20;
const MIN_BOX = 0.5;
const MIN_TEXT = 28;
const NON_ASCII = /[^\x20-\x7e]/;

/** The words in a box, shown as far as there is room. */
export function boxLabel(frames, strings, frame) {
  const name = printable(strings[frames.function[frame]].slice(0, 400)) || "<unnamed>";
  const file = strings[frames.file[frame]];
  if (file === "") {
    return { name, place: "" };
  }
  const line = frames.line[frame] === 0 ? "" : `:${frames.line[frame]}`;
  return { name, place: printable(file.slice(file.lastIndexOf("/") + 1).slice(0, 200)) + line };
}

/** Draws `view` (tree, focus, matches, selected, isInverted) into the canvas, and an outline around one box. */
export class FlameCanvas {
  constructor(parts, data) {
    this.canvas = parts.canvas;
    this.scroller = parts.scroller;
    this.spacer = parts.spacer;
    this.outline = parts.outline;
    this.data = data;
    this.labels = new Array(data.frames.line.length);
    this.colors = new Array(data.frames.line.length);
    this.isDark = false;
  }

  /** Boxes anew: after another tree, focus or width. */
  layout(view) {
    this.view = view;
    this.width = this.scroller.clientWidth;
    this.boxes = layoutTree(view.tree, view.focus, this.width, MIN_BOX);
    this.showOutline(-1);
    this.spacer.style.height = `${this.boxes.rows * ROW_HEIGHT + 1}px`;
  }

  /** Colors anew: after a change between light and dark. */
  setTheme(isDark) {
    this.isDark = isDark;
    this.colors.fill(undefined);
  }

  /** The box under a point of the window; -1 if there is none. */
  boxAtPoint(clientX, clientY) {
    const bounds = this.canvas.getBoundingClientRect();
    return boxAt(this.boxes, this.rowAt(clientY - bounds.top), clientX - bounds.left);
  }

  rowAt(y) {
    const row = Math.floor((y + this.scroller.scrollTop) / ROW_HEIGHT);
    return this.view.isInverted ? this.boxes.rows - 1 - row : row;
  }

  topOf(row) {
    const place = this.view.isInverted ? this.boxes.rows - 1 - row : row;
    return place * ROW_HEIGHT - this.scroller.scrollTop;
  }

  /** Outlines a box, or none for -1. An element of its own: the canvas is not drawn again for each move. */
  showOutline(box) {
    this.outline.hidden = box < 0;
    if (box >= 0) {
      const row = rowOf(this.boxes, box);
      this.outline.style.left = `${this.boxes.x[box]}px`;
      this.outline.style.top = `${this.topOf(row) + this.scroller.scrollTop}px`;
      this.outline.style.width = `${Math.max(this.boxes.w[box], 2)}px`;
      this.outline.style.height = `${ROW_HEIGHT - 1}px`;
    }
  }

  /** Where a box is in the window; null for -1. */
  placeOf(box) {
    if (box < 0) {
      return null;
    }
    const bounds = this.canvas.getBoundingClientRect();
    const top = bounds.top + this.topOf(rowOf(this.boxes, box));
    return { left: bounds.left + this.boxes.x[box], bottom: top + ROW_HEIGHT };
  }

  draw() {
    const scale = window.devicePixelRatio || 1;
    const height = this.scroller.clientHeight;
    this.canvas.width = Math.round(this.width * scale);
    this.canvas.height = Math.round(height * scale);
    this.canvas.style.width = `${this.width}px`;
    this.canvas.style.height = `${height}px`;
    const context = this.canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, this.width, height);
    context.font = "12px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace";
    context.textBaseline = "middle";
    this.letterWidth = context.measureText("M").width;
    const ends = [this.rowAt(0), this.rowAt(height)].sort((left, right) => left - right);
    const firstRow = Math.max(ends[0], 0);
    const lastRow = Math.min(ends[1], this.boxes.rows - 1);
    for (let row = firstRow; row <= lastRow; row++) {
      for (let box = this.boxes.rowStart[row]; box < this.boxes.rowStart[row + 1]; box++) {
        this.drawBox(context, box, row);
      }
    }
  }

  drawBox(context, box, row) {
    const node = this.boxes.node[box];
    const x = this.boxes.x[box];
    const width = this.boxes.w[box];
    const top = this.topOf(row);
    const { tree, matches, selected } = this.view;
    const isMatch = matches !== null && node !== 0 && matches[tree.frame[node]] === 1;
    context.globalAlpha = (matches !== null && !isMatch) || row < this.boxes.focusRow ? 0.45 : 1;
    context.fillStyle = isMatch ? (this.isDark ? "#b4579d" : "#f08ad2") : this.fill(node);
    const gap = width > 3 ? 1 : 0;
    context.fillRect(x, top, width - gap, ROW_HEIGHT - 1);
    if (node === selected) {
      context.globalAlpha = 1;
      context.strokeStyle = this.isDark ? "#fff" : "#000";
      context.lineWidth = 2;
      context.strokeRect(x + 1, top + 1, Math.max(width - gap - 2, 1), ROW_HEIGHT - 3);
    }
    if (width >= MIN_TEXT) {
      this.drawLabel(context, node, x + 4, top + ROW_HEIGHT / 2, width - 8);
    }
    context.globalAlpha = 1;
  }

  drawLabel(context, node, x, middle, room) {
    const { name, place } = this.label(node);
    const letters = Math.floor(room / this.letterWidth);
    const shown = name.length <= letters ? name : `${name.slice(0, Math.max(letters - 1, 1))}…`;
    // Letters outside ASCII can be wider than one column.
    const mustClip = NON_ASCII.test(shown) || NON_ASCII.test(place);
    if (mustClip) {
      context.save();
      context.beginPath();
      context.rect(x, middle - ROW_HEIGHT / 2, room, ROW_HEIGHT);
      context.clip();
    }
    context.fillStyle = this.isDark ? "#f2f2f2" : "#1b1b1b";
    context.fillText(shown, x, middle);
    const used = name.length + 2;
    if (place !== "" && used + place.length <= letters) {
      context.globalAlpha *= 0.6;
      const start = mustClip ? context.measureText(`${shown}  `).width : used * this.letterWidth;
      context.fillText(place, x + start, middle);
    }
    if (mustClip) {
      context.restore();
    }
  }

  label(node) {
    const { tree } = this.view;
    if (node === 0) {
      return { name: `<root>  ${sizeShort(tree.total[0])}`, place: "" };
    }
    const frame = tree.frame[node];
    return (this.labels[frame] ??= boxLabel(this.data.frames, this.data.strings, frame));
  }

  fill(node) {
    if (node === 0) {
      return this.isDark ? "#3a3f47" : "#d5d9df";
    }
    const frame = this.view.tree.frame[node];
    const { frames, strings } = this.data;
    return (this.colors[frame] ??= cssColor(frameColor(strings[frames.file[frame]], frames.flags[frame], this.isDark)));
  }

  /** Scrolls so that a row is in sight. */
  reveal(row) {
    const top = this.topOf(row);
    if (top < 0 || top + ROW_HEIGHT > this.scroller.clientHeight) {
      this.scroller.scrollTop += top - this.scroller.clientHeight / 3;
    }
  }
}

/** What there is to say about a node: lines of a name and a value. */
export function describeNode(data, tree, node, focus) {
  const lines = [];
  if (node === 0) {
    lines.push(["function", "<root>"]);
  } else {
    const frame = tree.frame[node];
    const file = printable(data.strings[data.frames.file[frame]]);
    const line = data.frames.line[frame];
    lines.push(["function", printable(data.strings[data.frames.function[frame]]) || "<unnamed>"]);
    lines.push(["place", line === 0 ? file : `${file}:${line}`]);
  }
  const share = `${percentText(tree.total[node], tree.total[0])} % of all`;
  const ofFocus = focus === 0 ? "" : `, ${percentText(tree.total[node], tree.total[focus])} % of the zoomed frame`;
  lines.push(["total", `${sizeShort(tree.total[node])}, ${share}${ofFocus}`]);
  lines.push(["own", sizeShort(tree.own[node])]);
  return lines;
}
