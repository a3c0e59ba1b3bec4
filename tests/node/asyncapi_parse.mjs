// Reads AsyncAPI documents with the official parser: `node asyncapi_parse.mjs FILE...`, `-` is standard input.
// Prints what it has to say, and ends with 1 where any of it is an error.
import { readFileSync } from "node:fs";
import { DiagnosticSeverity, Parser } from "@asyncapi/parser";

const files = process.argv.slice(2);
if (files.length === 0) {
  console.error("usage: node asyncapi_parse.mjs FILE... (- is standard input)");
  process.exit(2);
}
const parser = new Parser();
let isBad = false;
for (const file of files) {
  const { document, diagnostics } = await parser.parse(readFileSync(file === "-" ? 0 : file, "utf8"));
  for (const found of diagnostics) {
    const severity = DiagnosticSeverity[found.severity] ?? found.severity;
    console.log(`${file}: ${severity}: ${found.path.join(".")}: ${found.message} (${found.code})`);
  }
  const failed = !document || diagnostics.some((found) => found.severity === DiagnosticSeverity.Error);
  isBad ||= failed;
  if (!failed) {
    const counts = `${document.channels().length} channels, ${document.operations().length} operations`;
    console.log(`${file}: valid AsyncAPI ${document.version()}: ${counts}`);
  }
}
process.exit(isBad ? 1 : 0);
