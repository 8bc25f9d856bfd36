// Numbers and names as people read them. The same functions as `src/units.rs` and `src/report/escape.rs`; one table
// of cases (`test/cases.json`) binds both. Arithmetic is on integers (BigInt), halves round up.

const SIZE_UNITS = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

function roundedRatio(numerator, denominator) {
  return (2n * numerator + denominator) / (2n * denominator);
}

function scaledSize(bytes, fractions) {
  let divisor = 1n;
  for (const unit of SIZE_UNITS) {
    const value = roundedRatio(BigInt(bytes) * fractions, divisor);
    if (value < 1000n * fractions || unit === "EB") {
      return [value, unit];
    }
    divisor *= 1000n;
  }
}

function decimal(value, digits) {
  const text = value.toString().padStart(digits + 1, "0");
  return `${text.slice(0, -digits)}.${text.slice(-digits)}`;
}

/** Three decimals, as in text reports: `10.000MB`. */
export function sizeText(bytes) {
  const [value, unit] = scaledSize(bytes, 1000n);
  return decimal(value, 3) + unit;
}

/** One decimal: `30.7 MB`. */
export function sizeShort(bytes) {
  const [value, unit] = scaledSize(bytes, 10n);
  return `${decimal(value, 1)} ${unit}`;
}

/** Share in percent with two decimals and no sign; `0.00` of nothing. */
export function percentText(part, whole) {
  if (BigInt(whole) === 0n) {
    return "0.00";
  }
  return decimal(roundedRatio(BigInt(part) * 10000n, BigInt(whole)), 2);
}

/** `1,234,567` */
export function countText(count) {
  return BigInt(count).toString().replace(/\B(?=(\d{3})+$)/g, ",");
}

/** `2.500 s`, `1 min 5 s`, `25 h 1 min 1 s` */
export function durationText(milliseconds) {
  const whole = BigInt(milliseconds);
  const seconds = whole / 1000n;
  const hours = seconds / 3600n;
  const minutes = (seconds / 60n) % 60n;
  if (hours > 0n) {
    return `${hours} h ${minutes} min ${seconds % 60n} s`;
  }
  return minutes > 0n ? `${minutes} min ${seconds % 60n} s` : `${decimal(whole, 3)} s`;
}

/** A moment in UTC: `2026-01-02 03:04:05.678`. */
export function timeText(milliseconds) {
  const date = new Date(Number(milliseconds));
  return Number.isNaN(date.getTime()) ? "" : date.toISOString().replace("T", " ").replace("Z", "");
}

// Control characters, separators of lines and characters that set the direction of text; and what no XML document may hold.
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufeff\ufffe\uffff]/g;
const SHORT_ESCAPES = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/** A name of the traced program with every control character visible. */
export function printable(name) {
  return name.replace(CONTROLS, (character) => {
    const code = character.charCodeAt(0);
    const hex = code.toString(16);
    return SHORT_ESCAPES[character] ?? (code <= 0xff ? `\\x${hex.padStart(2, "0")}` : `\\u${hex.padStart(4, "0")}`);
  });
}
