// Package record is the stored form of the operation table: what the generator writes and
// package operations reads. It is two files. index.json is plain text, so that a regeneration
// shows in a diff: the sources with their versions, and for each service its names and where its
// operations lie in table.bin. table.bin holds one DEFLATE stream per service, each the JSON of
// Service, so that reading one service costs nothing for the other 400.
package record

import (
	"bytes"
	"compress/flate"
	"encoding/json"
	"fmt"
	"io"
)

// Format is the version of both files; a reader refuses any other.
const Format = 1

// Index is index.json.
type Index struct {
	Format int `json:"format"`
	// Sources are the published packages that the table was made from.
	Sources []Source `json:"sources"`
	// TableSHA256 is the lower-case hex digest of table.bin.
	TableSHA256 string `json:"table_sha256"`
	// HandSHA256 is the digest of the hand-kept files gen/*.txt, one after the other by name.
	HandSHA256 string `json:"hand_sha256"`
	// Regions are all Regions of the partition "aws", sorted.
	Regions []string `json:"regions"`
	// Redact are the redaction rules that hold for every service; see package operations, redact.go.
	Redact []string `json:"redact"`
	// Services are sorted by name.
	Services []Entry `json:"services"`
}

// Source is one published package, named as its registry names it.
type Source struct {
	Registry string `json:"registry"` // "PyPI" or "npm"
	Package  string `json:"package"`
	Version  string `json:"version"`
	SHA256   string `json:"sha256"` // of the archive
	License  string `json:"license"`
	Used     string `json:"used_for"`
}

// Entry is one service in the index.
type Entry struct {
	Name   string `json:"name"`   // boto3 client name
	Prefix string `json:"prefix"` // IAM service prefix; "" if no IAM actions are published
	// Names are other names of the service, normalised by Fold, the strongest first: its
	// service id, abbreviation, full name, then IAM prefix, signing name and endpoint prefix.
	Names []string `json:"names"`
	// Global: one endpoint answers for the whole partition.
	Global bool `json:"global,omitempty"`
	// Home is the only Region of the partition "aws" with an endpoint; "" if there are several.
	Home   string `json:"home,omitempty"`
	Offset int    `json:"offset"` // of the stream in table.bin, bytes
	Length int    `json:"length"` // of the stream, bytes
}

// Service is one stream of table.bin.
type Service struct {
	// Policy is the Action list of the session policy that covers every allowed operation.
	Policy     []string    `json:"p,omitempty"`
	Redact     []string    `json:"r,omitempty"` // see package operations, redact.go
	Operations []Operation `json:"o"`           // sorted by name
}

// Operation is one operation of a service.
type Operation struct {
	Name string `json:"n"`
	// Actions are the IAM actions with the service prefix; nil stands for prefix:Name.
	// Empty with Levels "" means that no action is known.
	Actions []string `json:"a,omitempty"`
	// Levels is the published access level of each action, one letter each:
	// L List, R Read, W Write, T Tagging, P Permissions management.
	Levels string `json:"l,omitempty"`
	// Category is "" for an allowed read; else see the constants of package operations.
	Category string `json:"c,omitempty"`
	Reason   string `json:"y,omitempty"` // of the override, a short phrase
	Rows     string `json:"w,omitempty"` // JMESPath
	// Params and Pagination are kept only for operations that some configuration may allow.
	// Params lists the top-level parameters as "name:type", with "!" behind when required,
	// joined by ";": one string decodes faster than a list, and few are ever looked at.
	Params     string      `json:"m,omitempty"`
	Pagination *Pagination `json:"g,omitempty"`
}

// Pagination is the paginator of an operation.
type Pagination struct {
	Input       []string `json:"i"`
	Output      []string `json:"o"`
	MoreResults string   `json:"m,omitempty"`
	LimitKey    string   `json:"k,omitempty"`
	Results     []string `json:"r,omitempty"`
}

// Fold brings a service or operation name to the form in which names are compared: lower case,
// letters and digits only. So "DescribeInstances", "describe-instances" and "describe_instances"
// are one name.
func Fold(s string) string {
	out := make([]byte, 0, len(s))
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
			out = append(out, c)
		case 'A' <= c && c <= 'Z':
			out = append(out, c+'a'-'A')
		}
	}
	return string(out)
}

// Pack is the stream of a service.
func Pack(s Service) ([]byte, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	w, err := flate.NewWriter(&buf, flate.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// Unpack reads a stream that Pack made.
func Unpack(stream []byte) (Service, error) {
	var s Service
	text, err := io.ReadAll(flate.NewReader(bytes.NewReader(stream)))
	if err != nil {
		return s, fmt.Errorf("inflate: %w", err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("decode: %w", err)
	}
	return s, nil
}
