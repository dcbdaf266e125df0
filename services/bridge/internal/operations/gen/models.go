package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
)

// model is the part of a botocore service model that the table needs.
type model struct {
	Metadata struct {
		EndpointPrefix      string
		ServiceAbbreviation string
		ServiceFullName     string
		ServiceID           string `json:"serviceId"`
		SigningName         string
	}
	Operations map[string]struct {
		HTTP   struct{ Method string }
		Input  struct{ Shape string }
		Output struct{ Shape string }
	}
	Shapes map[string]shape

	name       string // boto3 client name
	paginators map[string]paginator
	rules      []byte // endpoint rule set
}

type shape struct {
	Type        string
	Required    []string
	Members     map[string]ref
	Member      ref
	Value       ref
	Sensitive   bool
	Streaming   bool
	EventStream bool
}

type ref struct {
	Shape       string
	Streaming   bool
	EventStream bool
}

// streams says whether an operation answers with a stream.
func (m *model) streams(operation string) bool {
	for _, r := range m.Shapes[m.Operations[operation].Output.Shape].Members {
		s := m.Shapes[r.Shape]
		if r.Streaming || r.EventStream || s.Streaming || s.EventStream {
			return true
		}
	}
	return false
}

type paginator struct {
	Input       names  `json:"input_token"`
	Output      names  `json:"output_token"`
	Results     names  `json:"result_key"`
	MoreResults string `json:"more_results"`
	LimitKey    string `json:"limit_key"`
}

// names is a string or a list of strings.
type names []string

func (n *names) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '"' {
		var one string
		if err := json.Unmarshal(text, &one); err != nil {
			return err
		}
		*n = names{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(n))
}

const botocoreData = "botocore/data/"

func keepBotocore(p string) bool {
	switch path.Base(p) {
	case "service-2.json.gz", "service-2.json", "paginators-1.json", "endpoint-rule-set-1.json.gz", "endpoint-rule-set-1.json", "endpoints.json", "partitions.json":
		return strings.HasPrefix(p, botocoreData)
	}
	return false
}

// models reads the newest version of every service model, sorted by name.
func models(fs files) ([]*model, error) {
	newest := map[string]string{} // service -> directory
	for p := range fs {
		parts := strings.Split(strings.TrimPrefix(p, botocoreData), "/")
		if len(parts) == 3 && strings.HasPrefix(parts[2], "service-2.") && path.Dir(p) > newest[parts[0]] {
			newest[parts[0]] = path.Dir(p)
		}
	}
	var out []*model
	for _, name := range slices.Sorted(maps.Keys(newest)) {
		dir := newest[name]
		m := &model{name: name}
		text, err := open(fs, dir+"/service-2.json")
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(text, m); err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
		if text, err := open(fs, dir+"/paginators-1.json"); err == nil {
			var p struct{ Pagination map[string]paginator }
			if err := json.Unmarshal(text, &p); err != nil {
				return nil, fmt.Errorf("%s: paginators: %w", dir, err)
			}
			m.paginators = p.Pagination
		}
		if m.rules, err = open(fs, dir+"/endpoint-rule-set-1.json"); err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// open returns the file p, or p with .gz behind it.
func open(fs files, p string) ([]byte, error) {
	if text, ok := fs[p]; ok {
		return text, nil
	}
	packed, ok := fs[p+".gz"]
	if !ok {
		return nil, fmt.Errorf("%s: not in the package", p)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	return io.ReadAll(z)
}

// partition is what endpoints.json says of the partition "aws".
type partition struct {
	Partition string
	Regions   map[string]struct{}
	Services  map[string]struct {
		PartitionEndpoint string
		IsRegionalized    *bool
		Endpoints         map[string]struct{}
	}
}

func awsPartition(fs files) (partition, error) {
	var doc struct{ Partitions []partition }
	text, err := open(fs, botocoreData+"endpoints.json")
	if err != nil {
		return partition{}, err
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return partition{}, fmt.Errorf("endpoints.json: %w", err)
	}
	for _, p := range doc.Partitions {
		if p.Partition == "aws" {
			return p, nil
		}
	}
	return partition{}, fmt.Errorf("endpoints.json: no partition aws")
}

// global says whether one endpoint serves the whole partition: endpoints.json says so, or no
// endpoint of the rule set has the caller's Region in it.
func (m *model) global(p partition) bool {
	s, ok := p.Services[m.Metadata.EndpointPrefix]
	if ok && s.IsRegionalized != nil && !*s.IsRegionalized && s.PartitionEndpoint == "aws-global" {
		return true
	}
	return !bytes.Contains(m.rules, []byte("{Region}"))
}

// home is the only Region with an endpoint of the service; "" if there are several, or none is
// published.
func (m *model) home(p partition) string {
	if r, ok := homes[m.name]; ok {
		return r
	}
	var found []string
	for e := range p.Services[m.Metadata.EndpointPrefix].Endpoints {
		if _, ok := p.Regions[e]; ok {
			found = append(found, e)
		}
	}
	if len(found) == 1 && !m.global(p) {
		return found[0]
	}
	return ""
}

// homes are services with one Region that endpoints.json does not list, or lists as global.
// Source: the endpoint pages of the AWS General Reference, https://docs.aws.amazon.com/general/latest/gr/aws-service-information.html
var homes = map[string]string{
	"globalaccelerator":               "us-west-2",
	"networkmanager":                  "us-west-2",
	"route53-recovery-control-config": "us-west-2",
	"route53-recovery-readiness":      "us-west-2",
	"ecr-public":                      "us-east-1",
	"freetier":                        "us-east-1",
	"support":                         "us-east-1",
	"pricing":                         "us-east-1",
	"trustedadvisor":                  "us-east-1",
}
