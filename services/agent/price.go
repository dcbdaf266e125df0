package agent

import "strings"

// price is what a million tokens cost, in US dollars.
type price struct {
	family                               string // part of the model id
	input, output, cacheRead, cacheWrite float64
}

// prices are the on-demand list prices of https://aws.amazon.com/bedrock/pricing/ and
// https://www.anthropic.com/pricing as published with each model; cache writes with the 5 minute
// lifetime. Geographic and global profiles can differ by a tenth. They age: the log's cost_usd is an
// estimate for comparing questions, not an invoice, and is left out for a model that is not listed.
var prices = []price{
	{"claude-haiku-4-5", 1, 5, 0.10, 1.25},
	{"claude-sonnet-4-", 3, 15, 0.30, 3.75},
	{"claude-opus-4-5", 5, 25, 0.50, 6.25},
}

// Cost estimates what usage cost, in US dollars. known is false for a model whose price is not listed.
func Cost(modelID string, usage Usage) (usd float64, known bool) {
	for _, p := range prices {
		if strings.Contains(modelID, p.family) {
			return (float64(usage.InputTokens)*p.input + float64(usage.OutputTokens)*p.output +
				float64(usage.CacheReadTokens)*p.cacheRead + float64(usage.CacheWriteTokens)*p.cacheWrite) / 1e6, true
		}
	}
	return 0, false
}
