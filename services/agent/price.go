package agent

import "strings"

// price is what a million tokens cost, in US dollars.
type price struct {
	family                               string // part of the model id
	input, output, cacheRead, cacheWrite float64
}

// prices are Anthropic's list prices, with cache writes of the 5 minute lifetime:
// https://platform.claude.com/docs/en/about-claude/pricing and the models' overview pages (read
// 2026-11). Bedrock sets its own, and geographic profiles cost about a tenth more. They age: the log's
// cost_usd is an estimate for comparing questions, not an invoice, and is left out for a model that is
// not listed.
var prices = []price{
	{"claude-sonnet-5", 2, 10, 0.20, 2.50},
	{"claude-sonnet-4-", 3, 15, 0.30, 3.75},
	{"claude-haiku-4-5", 1, 5, 0.10, 1.25},
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
