// Order and choice of the rows of the table. Pure: columns in, arrays of row numbers out.

/** All rows by a column of numbers, or of texts through `strings`; `direction` is 1 or -1. Equal rows keep their order. */
export function sortRows(column, strings, direction) {
  const order = Int32Array.from(column, (_, row) => row);
  if (strings === null) {
    return order.sort((left, right) => direction * (column[left] - column[right]) || left - right);
  }
  const rank = new Map();
  [...new Set(column)]
    .sort((left, right) => (strings[left] < strings[right] ? -1 : strings[left] > strings[right] ? 1 : 0))
    .forEach((index, place) => rank.set(index, place));
  return order.sort((left, right) => direction * (rank.get(column[left]) - rank.get(column[right])) || left - right);
}

/** The rows of `order` whose text contains every word of `query`, in any case. */
export function filterRows(order, textOf, query) {
  const words = query.toLowerCase().split(/\s+/).filter((word) => word !== "");
  if (words.length === 0) {
    return order;
  }
  return order.filter((row) => words.every((word) => textOf(row).includes(word)));
}

/** The rows in sight: first and one past the last, for rows of equal height. */
export function visibleRows(scrollTop, viewHeight, rowHeight, rowCount) {
  const first = Math.max(0, Math.floor(scrollTop / rowHeight) - 5);
  const last = Math.min(rowCount, Math.ceil((scrollTop + viewHeight) / rowHeight) + 5);
  return { first: Math.min(first, last), last };
}
