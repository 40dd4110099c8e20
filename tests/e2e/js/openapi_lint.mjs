// Lints an OpenAPI description with the recommended rules; prints each problem, and how many errors there were.
import { createConfig, lintFromString } from "@redocly/openapi-core";
import { readFileSync } from "node:fs";

const config = await createConfig({ extends: ["recommended"], rules: { "info-license": "off", "no-server-example.com": "off" } });
const problems = await lintFromString({ source: readFileSync(process.argv[2], "utf8"), absoluteRef: process.argv[2], config });
for (const p of problems) console.log(`${p.severity} ${p.ruleId} ${p.location?.[0]?.pointer ?? ""}: ${p.message}`);
console.log(`${problems.filter((p) => p.severity === "error").length} errors, ${problems.length} problems`);
