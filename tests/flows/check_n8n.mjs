// Holds an n8n workflow to n8n's own node types, and computes its expressions with n8n's own engine.
// Standard input: { workflow, types, items: [...] }, where `items` are what an MQTT Trigger hands on.
// Standard output: { issues: [...], outcomes: { "name of a trigger": [what its last node got for each item] } }.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { Workflow, NodeHelpers, executeFilter } = createRequire(import.meta.url)("n8n-workflow");
const { workflow: source, types, items } = JSON.parse(readFileSync(0, "utf8"));

const short = (type) => type.replace("n8n-nodes-base.", "");
const has = (found, version) => [found.version].flat().includes(version);
const typeOf = (node) => types.find((found) => found.name === short(node.type) && has(found, node.typeVersion));
const issues = [];

function checkNames(where, given, properties) {
  for (const [name, value] of Object.entries(given)) {
    const property = properties.find((found) => found.name === name);
    if (!property) issues.push(`${where}: n8n knows no parameter ${name}`);
    else if (property.type === "collection") checkNames(`${where}.${name}`, value, property.options);
  }
}

for (const node of source.nodes) {
  const type = typeOf(node);
  if (!type) {
    issues.push(`${node.name}: n8n knows no ${node.type} of version ${node.typeVersion}`);
    continue;
  }
  checkNames(node.name, node.parameters, type.properties);
  const found = NodeHelpers.getNodeParametersIssues(type.properties, node, type);
  if (found) issues.push(`${node.name}: ${JSON.stringify(found)}`);
  const wanted = (type.credentials ?? []).filter((one) => one.required).map((one) => one.name);
  for (const name of wanted) if (!node.credentials?.[name]) issues.push(`${node.name}: no credential ${name}`);
}

if (issues.length > 0) {
  console.log(JSON.stringify({ issues, outcomes: {} }));
  process.exit(0);
}

const nodeTypes = {
  getByName: (name) => ({ description: types.find((found) => found.name === short(name)) }),
  getByNameAndVersion: (name, version) => ({
    description: types.find((found) => found.name === short(name) && has(found, version)),
  }),
  getKnownTypes: () => ({}),
};
const workflow = new Workflow({ ...source, id: "w1", active: false, nodeTypes });
const keys = { $execution: { id: "231", mode: "manual" } };

function compute(value, node, json) {
  const input = [{ json, pairedItem: { item: 0 } }];
  return workflow.expression.getParameterValue(value, null, 0, 0, node.name, input, "manual", keys);
}

// Follows an item from node to node: undefined where an IF stops it.
function follow(name, json) {
  const node = source.nodes.find((found) => found.name === name);
  let result = json;
  if (short(node.type) === "set") {
    const made = compute(node.parameters.jsonOutput, node, json);
    result = typeof made === "string" ? JSON.parse(made) : made;
  } else if (short(node.type) === "if") {
    if (!executeFilter(compute(node.parameters.conditions, node, json))) return undefined;
  }
  const next = source.connections[name]?.main[0]?.[0];
  return next ? follow(next.node, result) : result;
}

const outcomes = {};
for (const node of source.nodes.filter((found) => typeOf(found)?.group.includes("trigger"))) {
  const given = short(node.type) === "manualTrigger" ? [{}] : items;
  outcomes[node.name] = given.map((item) => follow(node.name, item) ?? null);
}
console.log(JSON.stringify({ issues, outcomes }));
