package main

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/central-ops/central-ops/services/bridge/internal/operations/record"
)

// full returns the IAM actions of an operation, the omitted one of its own name included.
func full(prefix string, o record.Operation) []string {
	if o.Actions == nil && o.Levels != "" {
		return []string{prefix + ":" + o.Name}
	}
	return o.Actions
}

// policies sets each service's Policy: patterns that match every action of its allowed
// operations, and no published action that is more than List or Read or that stands behind a
// refused operation. (List and Read actions behind no operation at all may match: they guard
// consoles and agents, which the bridge is not, and leaving them out would triple the patterns.)
func (b *builder) policies(services map[string]*record.Service) {
	needed, refused := map[string]bool{}, map[string]bool{} // by any operation of any service
	for _, m := range b.models {
		for _, o := range services[m.name].Operations {
			for _, a := range full(b.actions.prefix(m), o) {
				if o.Category == "" {
					needed[a] = true
				} else {
					refused[a] = true
				}
			}
		}
	}
	may := func(prefix string, a action) bool {
		full := prefix + ":" + a.Name
		return isRead(a.Level) && (needed[full] || !refused[full])
	}
	for _, m := range b.models {
		own := map[string]bool{}
		for _, o := range services[m.name].Operations {
			if o.Category == "" {
				for _, a := range full(b.actions.prefix(m), o) {
					own[a] = true
				}
			}
		}
		services[m.name].Policy = b.patterns(own, may)
	}
}

// patterns covers the actions in want with as few patterns as it finds, none of which matches a
// published action that may refuses. A pattern keeps a whole verb before its *, so that it means
// the same kind of operation when AWS adds actions. The order is alphabetical.
func (b *builder) patterns(want map[string]bool, may func(prefix string, a action) bool) []string {
	found := map[string]bool{}
	for a := range want {
		prefix, name, _ := strings.Cut(a, ":")
		found[prefix+":"+b.shorten(prefix, name, may)] = true
	}
	return slices.Sorted(maps.Keys(found))
}

func (b *builder) shorten(prefix, name string, may func(prefix string, a action) bool) string {
	verb := readingVerbs.FindString(name)
	if verb == "" {
		return name
	}
	for n := min(len(strings.TrimRight(verb, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")), len(name)); n < len(name); n++ {
		if b.all(prefix, name[:n], may) {
			return name[:n] + "*"
		}
	}
	return name
}

// all says whether may accepts every published action that begins with name.
func (b *builder) all(prefix, name string, may func(prefix string, a action) bool) bool {
	for lower, a := range b.actions[prefix] {
		if strings.HasPrefix(lower, strings.ToLower(name)) && !may(prefix, a) {
			return false
		}
	}
	return true
}

// denies is target-role-denies.json: the IAM actions behind refused reads, by category, less
// those that an allowed operation needs too.
func (b *builder) denies(services map[string]*record.Service) ([]byte, error) {
	needed := map[string]bool{}
	found := map[string]map[string]bool{"credentials": {}, "secrets": {}, "data": {}}
	for _, m := range b.models {
		for _, o := range services[m.name].Operations {
			for _, a := range full(b.actions.prefix(m), o) {
				if o.Category == "" {
					needed[a] = true
				} else if found[o.Category] != nil {
					found[o.Category][a] = true
				}
			}
		}
	}
	taken := map[string]bool{}
	var out struct {
		Credentials []string `json:"credentials"`
		Secrets     []string `json:"secrets"`
		Data        []string `json:"data"`
	}
	for _, c := range []struct {
		name string
		list *[]string
	}{{"credentials", &out.Credentials}, {"secrets", &out.Secrets}, {"data", &out.Data}} {
		want := map[string]bool{}
		for a := range found[c.name] {
			if !needed[a] && !taken[a] {
				want[a], taken[a] = true, true
			}
		}
		*c.list = b.patterns(want, func(prefix string, a action) bool { return want[prefix+":"+a.Name] })
	}
	text, err := json.MarshalIndent(out, "", "  ")
	return append(text, '\n'), err
}
