// Where each box of a flame graph lies. Pure: a tree, a node to fill the width, and pixels.

/**
 * Boxes of at least `minWidth` pixels, row by row from the root: the ancestors of `focus` over the full width, then
 * `focus` and what it called. What is smaller is left out with all below it, so there are at most
 * `width / minWidth` boxes in a row. `rowStart[r] .. rowStart[r + 1]` are the boxes of row r, from left to right.
 */
export function layoutTree(tree, focus, width, minWidth) {
  const node = [];
  const x = [];
  const w = [];
  const rowStart = [0];
  const ancestors = [];
  for (let above = focus; above !== 0; ) {
    above = tree.parent[above];
    ancestors.push(above);
  }
  for (const above of ancestors.reverse()) {
    node.push(above);
    x.push(0);
    w.push(width);
    rowStart.push(node.length);
  }
  node.push(focus);
  x.push(0);
  w.push(width);
  rowStart.push(node.length);
  const scale = tree.total[focus] > 0 ? width / tree.total[focus] : 0;
  for (let row = rowStart.length - 2; rowStart[row] < rowStart[row + 1]; row++) {
    for (let box = rowStart[row]; box < rowStart[row + 1]; box++) {
      let left = x[box];
      for (let at = tree.childStart[node[box]]; at < tree.childStart[node[box] + 1]; at++) {
        const child = tree.children[at];
        const boxWidth = tree.total[child] * scale;
        if (boxWidth < minWidth) {
          break;
        }
        node.push(child);
        x.push(left);
        w.push(boxWidth);
        left += boxWidth;
      }
    }
    rowStart.push(node.length);
  }
  rowStart.pop();
  return { node, x, w, rowStart, rows: rowStart.length - 1, focusRow: ancestors.length };
}

/** The box of row `row` at `position` pixels from the left; -1 if there is none. */
export function boxAt(layout, row, position) {
  if (row < 0 || row >= layout.rows) {
    return -1;
  }
  let low = layout.rowStart[row];
  let high = layout.rowStart[row + 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (layout.x[middle] + layout.w[middle] <= position) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < layout.rowStart[row + 1] && layout.x[low] <= position ? low : -1;
}

/** The row of a box. */
export function rowOf(layout, box) {
  return layout.rowStart.findIndex((start, row) => start <= box && box < layout.rowStart[row + 1]);
}

/** The box of a node; -1 if it is too small to have one. */
export function boxOf(layout, node) {
  return layout.node.indexOf(node);
}
