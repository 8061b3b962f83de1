// JSON that keeps numbers as they are written: 12345678901234567890 stays that number, on the screen and in history.

const exact = (key, value, context) =>
  typeof value === "number" && context?.source !== undefined && String(value) !== context.source
    ? JSON.rawJSON(context.source)
    : value;
const canKeep = typeof JSON.rawJSON === "function";

export const readJSON = (text) => (canKeep ? JSON.parse(text, exact) : JSON.parse(text));

// A value for people: text as it is, all else as JSON.
export function shown(value) {
  if (typeof value === "string") return value;
  return value === undefined ? "" : JSON.stringify(value, null, 2);
}
