package main

import (
	_ "embed"
	"fmt"
	"path"
	"strings"
)

//go:embed mapping.txt
var mappingText string

//go:embed overrides.txt
var overridesText string

//go:embed rows.txt
var rowsText string

//go:embed redact.txt
var redactText string

//go:embed denies.txt
var deniesText string

// hand is what the text files say. Each entry must be used: one that matches nothing, after
// an update of the sources say, fails the generation by name.
type hand struct {
	mapping   map[string][]string // service:Operation -> actions
	overrides []override
	rows      map[string]string   // service:Operation -> JMESPath
	redact    map[string][]string // service, or "*" for all -> rules
	keep      []string            // ends of names of sensitive members that stay
	denies    map[string][]string // category -> actions
}

type override struct {
	category, service, operation, reason string
}

var categories = map[string]bool{"allow": true, "credentials": true, "secrets": true, "data": true, "effect": true, "client": true}

func readHand() (hand, error) {
	h := hand{mapping: map[string][]string{}, rows: map[string]string{}, redact: map[string][]string{}, denies: map[string][]string{}}
	for _, f := range []struct {
		name, text string
		take       func(fields []string) error
	}{
		{"mapping.txt", mappingText, func(f []string) error {
			if _, twice := h.mapping[f[0]]; twice || len(f) < 2 {
				return fmt.Errorf("%s: want one line with at least one action", f[0])
			}
			h.mapping[f[0]] = f[1:]
			return nil
		}},
		{"overrides.txt", overridesText, func(f []string) error {
			if len(f) < 3 || !categories[f[0]] {
				return fmt.Errorf("%s: want category, operation and reason", strings.Join(f, " "))
			}
			service, operation, ok := strings.Cut(f[1], ":")
			if _, err := path.Match(operation, ""); !ok || err != nil {
				return fmt.Errorf("%s: want service:operation", f[1])
			}
			h.overrides = append(h.overrides, override{f[0], service, operation, strings.Join(f[2:], " ")})
			return nil
		}},
		{"rows.txt", rowsText, func(f []string) error {
			if _, twice := h.rows[f[0]]; twice || len(f) != 2 {
				return fmt.Errorf("%s: want one line with one JMESPath", f[0])
			}
			h.rows[f[0]] = f[1]
			return nil
		}},
		{"redact.txt", redactText, func(f []string) error {
			if len(f) < 2 {
				return fmt.Errorf("%s: want a service and at least one rule", f[0])
			}
			if f[0] == "keep" {
				h.keep = append(h.keep, f[1:]...)
				return nil
			}
			h.redact[f[0]] = append(h.redact[f[0]], f[1:]...)
			return nil
		}},
		{"denies.txt", deniesText, func(f []string) error {
			if len(f) < 2 || !categories[f[0]] {
				return fmt.Errorf("%s: want a category and at least one action", f[0])
			}
			h.denies[f[0]] = append(h.denies[f[0]], f[1:]...)
			return nil
		}},
	} {
		for i, line := range strings.Split(f.text, "\n") {
			if fields := strings.Fields(line); len(fields) > 0 && !strings.HasPrefix(fields[0], "#") {
				if err := f.take(fields); err != nil {
					return h, fmt.Errorf("%s:%d: %w", f.name, i+1, err)
				}
			}
		}
	}
	return h, nil
}
