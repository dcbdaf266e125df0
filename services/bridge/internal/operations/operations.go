// Package operations is the operation table: every operation of every AWS service that boto3
// knows, with the IAM actions it needs, whether it only reads, what its parameters are, how it
// pages, and which members of its answers must not be shown.
//
// The table is generated from published data (see index.json for packages and versions) by
//
//	go generate ./internal/operations
//
// Read-only is by construction. An operation is allowed only if all of this holds:
//
//   - its IAM actions are known, by their name or from gen/mapping.txt;
//   - AWS publishes every one of them with access level List or Read, and a second reading of the
//     same reference does not differ;
//   - its name begins with a verb of reading, or gen/overrides.txt vouches for it by name;
//   - no line of gen/overrides.txt takes it out as a source of credentials, secrets or user data,
//     or as having an effect;
//   - no parameter turns it into one (see Classify).
//
// Everything else is refused, operations that the table has never heard of included.
package operations

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/central-ops/central-ops/services/bridge/internal/operations/record"
)

//go:generate go run ./gen

//go:embed index.json
var indexText []byte

//go:embed table.bin
var tableText []byte

// Table is the operation table. It is safe for concurrent use.
type Table struct {
	index func() *index
	// services holds one func() *service per index entry, so that a service is decoded at most once.
	services []func() *service
}

// Operation is one operation of one service. The zero value is no operation.
type Operation struct {
	Service string // boto3 client name, "ec2"
	Name    string // as the API spells it, "DescribeInstances"
	// Actions are the IAM actions that a call needs, "ec2:DescribeInstances"; nil if none is known.
	Actions []string
	// AccessLevel is the strongest published access level of Actions, in this order: List, Read,
	// Write, Tagging, Permissions management; "Unknown" if no action is known.
	AccessLevel string
	// ReadOnly is whether the operation only reads, whatever it returns: a refusal for what it
	// returns is Classify's.
	ReadOnly bool
	// Global is whether there is one answer for all Regions, so that an account is one target.
	Global bool
	// Region is the Region to call when only one serves the operation; "" if there are several
	// or, for a global service, if boto3 finds the endpoint from any.
	Region string
	// Pagination is nil if the operation has no paginator.
	Pagination *Pagination
	// Rows is the JMESPath of the natural rows of an answer where they are nested; "" for none.
	Rows string
	// Required are the names of the parameters that a call must have, sorted.
	Required []string
	// Params are the top-level parameters with their type as CheckParams names it ("string",
	// "list of string", "object" ...). Params, Required and Pagination are empty for operations
	// that no configuration allows.
	Params map[string]string

	category, reason string
}

// String is the operation as IAM and people write it, "ec2:DescribeInstances".
func (o Operation) String() string { return o.Service + ":" + o.Name }

// Pagination is how an operation pages; the names are members of input and output. Input, Output
// and Results are equally ordered lists with at least one item each, save that Results may be empty.
type Pagination struct {
	Input       []string // token parameters
	Output      []string // JMESPath of the next tokens in the answer
	MoreResults string   // JMESPath of a boolean that tells whether there is more; "" if the token does
	LimitKey    string   // parameter for the size of a page; "" if there is none
	Results     []string // JMESPath of the lists that pages add to
}

// UnknownError is a service or operation that the table does not have.
type UnknownError struct {
	Kind    string   // "service" or "operation"
	Value   string   // as asked for
	Of      string   // the services that were looked through for an operation; "" for a service
	Nearest []string // at most 5 names that were perhaps meant, the likeliest first
}

func (e *UnknownError) Error() string {
	s := fmt.Sprintf("unknown %s %q", e.Kind, e.Value)
	if e.Of != "" {
		s += " of " + e.Of
	}
	if len(e.Nearest) > 0 {
		s += "; nearest: " + strings.Join(e.Nearest, ", ")
	}
	return s
}

// index is the decoded index.json.
type index struct {
	record.Index
	byName map[string]int   // folded name of the client -> entry
	others map[string][]int // other folded names -> entries, in order of strength
	// members are redacted by the rules that hold for every service.
	members *members
}

// service is one decoded stream of table.bin.
type service struct {
	record.Service
	entry  record.Entry
	byName map[string]int // folded operation name -> position
	// members are redacted by the service's rules and those that hold for every service.
	members *members
}

// Load returns the table. It decodes nothing: the index is read at the first Resolve, a service
// at the first Resolve of one of its operations.
func Load() *Table {
	t := &Table{}
	t.index = sync.OnceValue(func() *index { return decodeIndex(t) })
	return t
}

// decodeIndex panics on damage: the data is part of the program, and tests read all of it.
func decodeIndex(t *Table) *index {
	x := &index{}
	if err := json.Unmarshal(indexText, &x.Index); err != nil {
		panic("operations: index.json: " + err.Error())
	}
	if x.Format != record.Format {
		panic(fmt.Sprintf("operations: index.json: format %d, want %d", x.Format, record.Format))
	}
	everywhere := parseRules(x.Redact)
	x.members = newMembers(everywhere)
	x.byName = make(map[string]int, len(x.Services))
	x.others = make(map[string][]int, 2*len(x.Services))
	t.services = make([]func() *service, len(x.Services))
	for i, e := range x.Services {
		x.byName[record.Fold(e.Name)] = i
		for _, n := range e.Names {
			x.others[n] = append(x.others[n], i)
		}
		t.services[i] = sync.OnceValue(func() *service { return decodeService(e, everywhere) })
	}
	for name, client := range nicknames {
		x.others[name] = []int{x.byName[client]}
	}
	return x
}

func decodeService(e record.Entry, everywhere *rules) *service {
	s := &service{entry: e}
	var err error
	if s.Service, err = record.Unpack(tableText[e.Offset : e.Offset+e.Length]); err != nil {
		panic("operations: table.bin: " + e.Name + ": " + err.Error())
	}
	s.byName = make(map[string]int, len(s.Operations))
	for i, o := range s.Operations {
		s.byName[record.Fold(o.Name)] = i
	}
	s.members = newMembers(everywhere, parseRules(s.Redact))
	return s
}

// Decode decodes the index and a service ahead of the first Resolve. An unknown service is no error.
func (t *Table) Decode(serviceName string) {
	for _, i := range t.lookup(serviceName) {
		t.services[i]()
	}
}

// nicknames are folded names in common use that no model has.
var nicknames = map[string]string{
	"alb":             "elbv2",
	"nlb":             "elbv2",
	"loadbalancing":   "elbv2",
	"identitycenter":  "ssoadmin",
	"parameterstore":  "ssm",
	"systemsmanager":  "ssm",
	"statemachine":    "stepfunctions",
	"msk":             "kafka",
	"documentdb":      "docdb",
	"costexplorer":    "ce",
	"tagging":         "resourcegroupstaggingapi",
	"vpc":             "ec2",
	"s3api":           "s3",
	"ebsvolumes":      "ec2",
	"cognitouserpool": "cognitoidp",
}

// Services returns the boto3 client names of all services, sorted.
func (t *Table) Services() []string {
	x := t.index()
	out := make([]string, len(x.Services))
	for i, e := range x.Services {
		out[i] = e.Name
	}
	return out
}

// Operations returns all operations of a service, allowed or not, sorted by name; nil for a name
// that is not a boto3 client name.
func (t *Table) Operations(serviceName string) []Operation {
	i, ok := t.index().byName[record.Fold(serviceName)]
	if !ok {
		return nil
	}
	s := t.services[i]()
	out := make([]Operation, len(s.Operations))
	for k := range s.Operations {
		out[k] = s.operation(k)
	}
	return out
}

// Resolve finds an operation. Upper and lower case, spaces, hyphens and underscores do not count,
// so "describe-instances" and "describe_instances" are DescribeInstances. A service goes by its
// boto3 client name, service id, full or short name ("Elastic Load Balancing v2"), IAM prefix or
// endpoint prefix; where such a name means several services, the one that has the operation is
// taken. The operation may carry its service in front ("ec2:DescribeInstances").
// The error is an *UnknownError.
func (t *Table) Resolve(serviceName, operationName string) (Operation, error) {
	found := t.lookup(serviceName)
	if len(found) == 0 {
		return Operation{}, &UnknownError{"service", serviceName, "", nearest(record.Fold(serviceName), t.Services())}
	}
	name := operationName
	if before, after, ok := strings.Cut(operationName, ":"); ok && overlap(found, t.lookup(before)) {
		name = after
	}
	folded := record.Fold(name)
	var hits []Operation
	for _, i := range found {
		s := t.services[i]()
		if k, ok := s.byName[folded]; ok {
			hits = append(hits, s.operation(k))
		}
	}
	if len(hits) == 1 {
		return hits[0], nil
	}
	if len(hits) > 1 { // the name means several services and more than one has the operation
		var names []string
		for _, h := range hits[:min(len(hits), maxNearest)] {
			names = append(names, h.Service)
		}
		return Operation{}, &UnknownError{"service", serviceName, "", names}
	}
	var names, of []string
	for _, i := range found {
		of = append(of, t.services[i]().entry.Name)
		for _, o := range t.services[i]().Operations {
			if o.Category == "" || o.Category == CategoryData { // no use in offering what is refused
				names = append(names, o.Name)
			}
		}
	}
	return Operation{}, &UnknownError{"operation", operationName, strings.Join(of, ", "), nearest(folded, names)}
}

// lookup returns the positions of the services that a name means.
func (t *Table) lookup(name string) []int {
	x := t.index()
	folded := record.Fold(name)
	for _, n := range []string{folded, strings.TrimPrefix(folded, "amazon"), strings.TrimPrefix(folded, "aws")} {
		if i, ok := x.byName[n]; ok {
			return []int{i}
		}
		if found := x.others[n]; len(found) > 0 {
			return found
		}
	}
	return nil
}

func overlap(a, b []int) bool {
	return slices.ContainsFunc(a, func(i int) bool { return slices.Contains(b, i) })
}

// levels are the access levels by their letter in the table, weakest first.
var levels = []struct {
	letter byte
	name   string
}{{'L', "List"}, {'R', "Read"}, {'W', "Write"}, {'T', "Tagging"}, {'P', "Permissions management"}}

func (s *service) operation(k int) Operation {
	r := s.Operations[k]
	o := Operation{
		Service: s.entry.Name, Name: r.Name, Actions: slices.Clone(r.Actions), AccessLevel: "Unknown",
		Global: s.entry.Global || s.entry.Home != "" || oneAnswer[s.entry.Name+":"+r.Name],
		Region: s.entry.Home, Rows: r.Rows,
		category: r.Category, reason: r.Reason,
	}
	if o.Actions == nil && r.Levels != "" {
		o.Actions = []string{s.entry.Prefix + ":" + r.Name}
	}
	for _, l := range levels {
		if strings.IndexByte(r.Levels, l.letter) >= 0 {
			o.AccessLevel = l.name
		}
	}
	o.ReadOnly = r.Levels != "" && strings.Trim(r.Levels, "LR") == "" && r.Category != "effect"
	if r.Pagination != nil {
		p := Pagination(*r.Pagination)
		o.Pagination = &p
	}
	if r.Params != "" {
		o.Params = map[string]string{}
	}
	for p := range strings.SplitSeq(r.Params, ";") {
		name, typ, found := strings.Cut(p, ":")
		if !found {
			break
		}
		if t, required := strings.CutSuffix(typ, "!"); required {
			typ = t
			o.Required = append(o.Required, name)
		}
		o.Params[name] = typ
	}
	return o
}

// oneAnswer are operations of Regional services that give the same answer in every Region.
// Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListBuckets.html (all buckets of the
// account, of any Region), https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
var oneAnswer = map[string]bool{
	"s3:ListBuckets":        true,
	"sts:GetCallerIdentity": true,
	"sts:GetAccessKeyInfo":  true,
	"ec2:DescribeRegions":   true,
}

// IsGlobal reports whether one endpoint of the service answers for all Regions, or only one
// Region has an endpoint; false for a service that the table does not have.
func (t *Table) IsGlobal(serviceName string) bool {
	found := t.lookup(serviceName)
	for _, i := range found {
		if e := t.index().Services[i]; !e.Global && e.Home == "" {
			return false
		}
	}
	return len(found) > 0
}

// Regions returns all Regions of the partition "aws", sorted, whether an account has them enabled
// or not.
func (t *Table) Regions() []string { return slices.Clone(t.index().Regions) }

// NearestRegions returns at most 5 Regions that were perhaps meant by s, the likeliest first.
func (t *Table) NearestRegions(s string) []string {
	return nearest(record.Fold(s), t.index().Regions)
}
