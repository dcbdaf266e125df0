package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/central-ops/central-ops/services/bridge/internal/operations/record"
)

// redact are the redaction rules of a service: those of redact.txt, and the last two names of
// the path to each member of an allowed answer that the model marks sensitive and that is not kept.
func (b *builder) redact(m *model, operations []record.Operation) []string {
	b.used["redact "+m.name] = true
	rules := map[string]bool{}
	for _, r := range b.hand.redact[m.name] {
		rules[strings.ToLower(r)] = true
	}
	for _, o := range operations {
		if o.Category != "" {
			continue
		}
		m.sensitive(m.Operations[o.Name].Output.Shape, nil, map[string]bool{}, func(path []string) {
			rule := strings.ToLower(strings.Join(path[max(0, len(path)-2):], "."))
			if !b.kept(rule) && strings.Trim(rule, "*.") != "" {
				rules[rule] = true
			}
		})
	}
	return slices.Sorted(maps.Keys(rules))
}

// kept says whether the member that a rule ends in is one that redact.txt keeps.
func (b *builder) kept(rule string) bool {
	return slices.ContainsFunc(b.hand.keep, func(end string) bool {
		return strings.HasSuffix(rule, end) || strings.HasSuffix(rule, end+".*")
	})
}

// sensitive calls found with the path of every sensitive member of a shape: strings and blobs, and
// with "**" behind whole structures, lists and maps. Shapes in seen are being walked already.
func (m *model) sensitive(name string, path []string, seen map[string]bool, found func(path []string)) {
	s := m.Shapes[name]
	switch s.Type {
	case "structure", "list", "map":
		if seen[name] {
			return
		}
		if s.Sensitive {
			found(append(slices.Clone(path), "**"))
			return
		}
		seen[name] = true
		defer delete(seen, name)
	}
	switch s.Type {
	case "structure":
		for member, r := range s.Members {
			m.sensitive(r.Shape, append(slices.Clone(path), member), seen, found)
		}
	case "list":
		m.sensitive(s.Member.Shape, path, seen, found)
	case "map":
		m.sensitive(s.Value.Shape, append(slices.Clone(path), "*"), seen, found)
	case "string", "blob":
		if s.Sensitive {
			found(path)
		}
	}
}
