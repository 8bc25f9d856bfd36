// The call tree as columns: parents before children, node 0 the root. Pure functions, no recursion: stacks can be
// thousands of frames deep.

/** Bits of a frame's flags; `src/report/html/flamegraph.rs` has the same. */
export const FLAGS = { irrelevant: 1, importSystem: 2, standardLibrary: 4, native: 8, marker: 16, process: 32 };

/**
 * The tree without frames that have a bit of `hiddenFlags`; their memory goes to the caller, and nodes that become
 * equal are one. Children come largest first.
 */
export function foldTree(nodes, flags, hiddenFlags) {
  const size = nodes.parent.length;
  const parent = [0];
  const frame = [-1];
  const depth = [0];
  const own = [0];
  const ownCount = [0];
  const nodeOf = new Int32Array(size);
  const known = new Map();
  for (let node = 0; node < size; node++) {
    let target = 0;
    if (node > 0) {
      target = nodeOf[nodes.parent[node]];
      const frameIndex = nodes.frame[node];
      if ((flags[frameIndex] & hiddenFlags) === 0) {
        const key = target * flags.length + frameIndex;
        let found = known.get(key);
        if (found === undefined) {
          found = parent.length;
          known.set(key, found);
          parent.push(target);
          frame.push(frameIndex);
          depth.push(depth[target] + 1);
          own.push(0);
          ownCount.push(0);
        }
        target = found;
      }
    }
    nodeOf[node] = target;
    own[target] += nodes.bytes[node];
    ownCount[target] += nodes.count[node];
  }
  const total = Float64Array.from(own);
  const count = Float64Array.from(ownCount);
  for (let node = parent.length - 1; node > 0; node--) {
    total[parent[node]] += total[node];
    count[parent[node]] += count[node];
  }
  return { parent, frame, depth, own, ownCount, total, count, ...childLists(parent, total) };
}

/** `children[childStart[n] .. childStart[n + 1]]` are the children of n, largest first. */
function childLists(parent, total) {
  const size = parent.length;
  const childStart = new Int32Array(size + 1);
  for (let node = 1; node < size; node++) {
    childStart[parent[node] + 1]++;
  }
  for (let node = 0; node < size; node++) {
    childStart[node + 1] += childStart[node];
  }
  const next = childStart.slice();
  const children = new Int32Array(size - 1);
  for (let node = 1; node < size; node++) {
    children[next[parent[node]]++] = node;
  }
  for (let node = 0; node < size; node++) {
    if (childStart[node + 1] - childStart[node] > 1) {
      const list = children.subarray(childStart[node], childStart[node + 1]);
      list.sort((left, right) => total[right] - total[left] || left - right);
    }
  }
  return { childStart, children };
}

/** The children of a node, largest first. */
export function childrenOf(tree, node) {
  return tree.children.subarray(tree.childStart[node], tree.childStart[node + 1]);
}

/** The nodes from the root to `node`, both included. */
export function pathTo(tree, node) {
  const path = [node];
  while (node !== 0) {
    node = tree.parent[node];
    path.push(node);
  }
  return path.reverse();
}

/** For each frame 1 if its name, or `file:line`, contains `query` in any case, else 0; null for an empty query. */
export function matchFrames(frames, strings, query) {
  const wanted = query.trim().toLowerCase();
  if (wanted === "") {
    return null;
  }
  const lower = strings.map((text) => text.toLowerCase());
  return Uint8Array.from(frames.line, (line, index) => {
    const file = lower[frames.file[index]];
    const found = lower[frames.function[index]].includes(wanted) || `${file}:${line}`.includes(wanted);
    return found ? 1 : 0;
  });
}

/** Bytes below `focus` in stacks with a matching frame, each byte once, and the number of matching nodes there. */
export function matchedTotals(tree, matches, focus) {
  const NOT_BELOW = 0;
  const BELOW = 1;
  const COVERED = 2;
  const state = new Uint8Array(tree.parent.length);
  let bytes = 0;
  let nodes = 0;
  for (let node = focus; node < tree.parent.length; node++) {
    const above = node === focus ? BELOW : state[tree.parent[node]];
    if (above === NOT_BELOW || (node === 0 && focus !== 0)) {
      continue;
    }
    const isMatch = node !== 0 && matches[tree.frame[node]] === 1;
    state[node] = isMatch ? COVERED : above;
    if (isMatch) {
      nodes++;
      bytes += above === BELOW ? tree.total[node] : 0;
    }
  }
  return { bytes, nodes };
}
