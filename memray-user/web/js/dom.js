// Elements by code. Text goes in as text; nothing here parses HTML.

/** The element of an id that the page's own markup has. */
export function byId(id) {
  return document.getElementById(id);
}

/** A new element with properties and children; strings among the children become text. */
export function element(tag, properties, ...children) {
  const created = document.createElement(tag);
  Object.assign(created, properties);
  created.append(...children);
  return created;
}

/** A new SVG element with attributes. */
export function svgElement(tag, attributes, ...children) {
  const created = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) {
    created.setAttribute(name, value);
  }
  created.append(...children);
  return created;
}

/** The page's data. */
export function readData() {
  return JSON.parse(byId("data").textContent);
}

/** Calls `action` once per drawn frame, however often it is asked. */
export function oncePerFrame(action) {
  let asked = false;
  return () => {
    if (!asked) {
      asked = true;
      requestAnimationFrame(() => {
        asked = false;
        action();
      });
    }
  };
}
