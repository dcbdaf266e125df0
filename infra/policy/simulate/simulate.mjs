// Reads a JSON array of simulations on standard input and prints a JSON array of results, in the same order:
// Allowed, ImplicitlyDenied, ExplicitlyDenied, or "error: ..." for a request that IAM would not accept.
import { runSimulation } from '@cloud-copilot/iam-simulate'

let text = ''
for await (const chunk of process.stdin) text += chunk
const results = []
for (const simulation of JSON.parse(text)) {
  const response = await runSimulation(simulation, {})
  results.push(response.errors ? 'error: ' + JSON.stringify(response.errors) : (response.overallResult ?? response.analysis?.result ?? JSON.stringify(response).slice(0, 400)))
}
console.log(JSON.stringify(results))
