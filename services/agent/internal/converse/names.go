package converse

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	agent "github.com/central-ops/central-ops/services/agent"
)

// maxName is Bedrock's limit on a tool's name
// (https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ToolSpecification.html, read 2026-11).
const maxName = 64

// ModelName returns the name under which the model sees a tool of the Gateway: the same if Bedrock
// accepts it, else what it accepts of it, cut, with a hash of the whole name. It depends on the name
// alone, so that a conversation stays valid when the tool list changes.
func ModelName(name string) string {
	if name != "" && len(name) <= maxName && strings.IndexFunc(name, refusedInName) < 0 {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	suffix := "_" + hex.EncodeToString(sum[:4])
	fitted := strings.Map(func(r rune) rune {
		if refusedInName(r) {
			return '_'
		}
		return r
	}, name)
	return fitted[:min(len(fitted), maxName-len(suffix))] + suffix
}

func refusedInName(r rune) bool {
	letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	return !letter && (r < '0' || r > '9') && r != '_' && r != '-'
}

// names maps the tools' names both ways.
type names map[string]string // model's name -> Gateway's name

func newNames(tools []agent.Tool) names {
	mapped := make(names, len(tools))
	for _, tool := range tools {
		mapped[ModelName(tool.Name)] = tool.Name
	}
	return mapped
}

func (names) model(gatewayName string) string { return ModelName(gatewayName) }

// gateway returns the Gateway's name; a name that the model made up stays as it is.
func (n names) gateway(modelName string) string {
	if name, ok := n[modelName]; ok {
		return name
	}
	return modelName
}
