package bedrock

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"sync"
	"time"
)

// bytesPerToken is the usual rule of thumb for English text and JSON. No tokenizer runs here, so all counts are estimates:
// UTF-8 bytes divided by four, rounded up per block. They grow as the true numbers do, which is what the tests compare;
// they are not what AWS would charge.
const bytesPerToken = 4

// minCachedTokens is the shortest prefix that the service caches for Sonnet models
// (https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html, read 2026-11-24).
const minCachedTokens = 1024

// maxCachedPrefixes bounds the memory of a long run.
const maxCachedPrefixes = 1000

func textTokens(bytes int) int { return (bytes + bytesPerToken - 1) / bytesPerToken }

func blockTokens(b Block) int {
	n := 0
	if b.Text != nil {
		n += textTokens(len(*b.Text))
	}
	if b.ToolUse != nil {
		n += textTokens(len(b.ToolUse.Name) + len(b.ToolUse.Input))
	}
	if b.ToolResult != nil {
		for _, c := range b.ToolResult.Content {
			n += textTokens(len(c.JSON))
			if c.Text != nil {
				n += textTokens(len(*c.Text))
			}
		}
	}
	if b.Reasoning != nil && b.Reasoning.Text != nil {
		n += textTokens(len(b.Reasoning.Text.Text))
	}
	return n
}

// promptCache remembers prefixes as the service's prompt cache does, so that a client whose prefix changes from call to call
// is seen to read nothing. The zero value is ready to use; it is safe for concurrent use.
type promptCache struct {
	mu      sync.Mutex
	expires map[string]time.Time // by hash of the prefix
}

// prefix is what comes before one cache point.
type prefix struct {
	hash   string
	tokens int
	ttl    time.Duration
}

// usage estimates the input tokens of req and splits them into fresh, read from the cache and written to it.
func (c *promptCache) usage(req *Request, now time.Time) Usage {
	prefixes, total := prefixesOf(req)

	c.mu.Lock()
	defer c.mu.Unlock()
	for hash, expires := range c.expires {
		if !now.Before(expires) {
			delete(c.expires, hash)
		}
	}
	read, longest := 0, 0
	for _, p := range prefixes {
		if p.tokens < minCachedTokens {
			continue
		}
		if _, hit := c.expires[p.hash]; hit {
			read = p.tokens
		}
		longest = p.tokens
		if c.expires == nil {
			c.expires = map[string]time.Time{}
		}
		if len(c.expires) < maxCachedPrefixes {
			c.expires[p.hash] = now.Add(p.ttl)
		}
	}
	return Usage{InputTokens: total - longest, CacheReadInputTokens: read, CacheWriteInputTokens: longest - read}
}

// prefixesOf walks req in the order in which the service caches: tools, system, messages. It returns the prefix before
// each cache point, shortest first, and the estimate for the whole.
func prefixesOf(req *Request) (prefixes []prefix, total int) {
	hash := sha256.New()
	hash.Write([]byte(req.ModelID))
	point := func(p *CachePoint) {
		ttl := 5 * time.Minute
		if p.TTL == "1h" {
			ttl = time.Hour
		}
		prefixes = append(prefixes, prefix{hex.EncodeToString(hash.Sum(nil)), total, ttl})
	}
	add := func(v any, tokens int) {
		data, _ := json.Marshal(v) // decoded from JSON, so it encodes
		hash.Write(data)
		total += tokens
	}
	if req.ToolConfig != nil {
		for _, tool := range req.ToolConfig.Tools {
			if tool.CachePoint != nil {
				point(tool.CachePoint)
				continue
			}
			data, _ := json.Marshal(tool.Spec)
			add(tool.Spec, textTokens(len(data)))
		}
	}
	for _, block := range req.System {
		if block.CachePoint != nil {
			point(block.CachePoint)
			continue
		}
		add(block, textTokens(len(*block.Text)))
	}
	for _, m := range req.Messages {
		add(m.Role, 0)
		for _, b := range m.Content {
			if b.CachePoint != nil {
				point(b.CachePoint)
				continue
			}
			add(b, blockTokens(b))
		}
	}
	return prefixes, total
}
