// Portraits as SVG. In: one JSON object a line, {"style": "personas", "options": {…}}. Out: one JSON string a line.
// The options are those of the style's schema: https://www.dicebear.com
import { createAvatar } from "@dicebear/core";
import { createInterface } from "node:readline";

const styles = {};
for await (const line of createInterface({ input: process.stdin })) {
  const { style, options } = JSON.parse(line);
  styles[style] ??= await import(`@dicebear/${style}`);
  console.log(JSON.stringify(createAvatar(styles[style], options).toString()));
}
