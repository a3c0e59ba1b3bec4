// Runs the code of Node-RED's function nodes: [{ func, msg }, ...] on standard input, the list of what each returned
// on standard output. No Node-RED is needed for that.
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";

const RED = { util: { generateId: () => randomBytes(8).toString("hex") } };
const results = JSON.parse(readFileSync(0, "utf8")).map(({ func, msg }) => {
  const found = new Function("msg", "RED", func)(msg, RED);
  if (Buffer.isBuffer(found?.correlationData)) found.correlationData = found.correlationData.toString();
  return found;
});
console.log(JSON.stringify(results));
