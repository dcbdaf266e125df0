package main

import (
	"encoding/json"
	"fmt"
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

// patterns covers the actions in want with few patterns, none of which matches a published action
// that may refuses. A pattern ends at the end of a word of the name and keeps its verb, so that it
// means the same kind of operation when AWS adds actions; one that would stand for a single action
// gives way to its name. The order is alphabetical.
func (b *builder) patterns(want map[string]bool, may func(prefix string, a action) bool) []string {
	groups := map[string][]string{} // pattern -> actions
	for a := range want {
		prefix, name, _ := strings.Cut(a, ":")
		p := prefix + ":" + b.shorten(prefix, name, may)
		groups[p] = append(groups[p], a)
	}
	var out []string
	for p, actions := range groups {
		if len(actions) < 2 {
			out = append(out, actions...)
		} else {
			out = append(out, p)
		}
	}
	slices.Sort(out)
	return out
}

func (b *builder) shorten(prefix, name string, may func(prefix string, a action) bool) string {
	for _, end := range wordEnds(name) {
		if readingVerbs.MatchString(name[:end]) && b.all(prefix, name[:end], may) {
			return name[:end] + "*"
		}
	}
	return name
}

// wordEnds are the positions in a CamelCase name at which a word ends.
func wordEnds(name string) []int {
	var ends []int
	upper := func(i int) bool { return 'A' <= name[i] && name[i] <= 'Z' }
	for i := 1; i < len(name); i++ {
		if upper(i) && !upper(i-1) {
			ends = append(ends, i)
		}
	}
	return append(ends, len(name))
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
	for category, actions := range b.hand.denies {
		for _, a := range actions {
			prefix, name, _ := strings.Cut(a, ":")
			if b.actions[prefix][strings.ToLower(name)].Name != name {
				return nil, fmt.Errorf("denies.txt: no such IAM action: %s", a)
			}
			found[category][a] = true
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
