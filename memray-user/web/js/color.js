// Colors of frames: the same file has the same color in every report.

import { FLAGS } from "./tree.js";

/** FNV-1a over UTF-16 units. */
export function hashText(text) {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  return hash >>> 0;
}

/**
 * Hue, saturation and lightness of a frame. Files of one folder have neighboring hues; the standard library stays
 * pale, and processes are gray, so that the program's own code stands out.
 */
export function frameColor(file, flags, isDark) {
  const folder = file.slice(0, file.lastIndexOf("/") + 1);
  const variation = hashText(file) % 31;
  if (flags & FLAGS.process) {
    return { hue: 215, saturation: 10, lightness: isDark ? 32 : 82 };
  }
  if (flags & FLAGS.marker) {
    return { hue: 280, saturation: 35, lightness: isDark ? 38 : 80 };
  }
  if (flags & FLAGS.standardLibrary) {
    return { hue: 205 + variation, saturation: isDark ? 14 : 26, lightness: (isDark ? 30 : 80) + (variation % 7) };
  }
  if (flags & FLAGS.native) {
    return { hue: 38 + (variation % 16), saturation: 55, lightness: isDark ? 36 : 72 };
  }
  const hue = (hashText(folder) % 360) + variation - 15;
  return { hue: (hue + 360) % 360, saturation: isDark ? 42 : 58, lightness: (isDark ? 36 : 70) + (variation % 8) };
}

/** The color as CSS. */
export function cssColor({ hue, saturation, lightness }) {
  return `hsl(${hue} ${saturation}% ${lightness}%)`;
}
