// Package script writes the one Python script that the bridge sends to aws___run_script, and reads
// what it returns.
//
// The script, run.py, is fixed. What varies (operation, Regions, parameters) travels in it as JSON
// inside one string literal, decoded by json.loads in the sandbox; so nothing that a model or a
// person wrote is ever code. The literal is printable ASCII without a bare quote or backslash,
// whatever the values hold: see Quote.
//
// All of it stands in one function, so that it does not matter in what kind of namespace the sandbox
// runs it. Numbers such as 5.0 reach AWS as 5: boto3 takes no float for an integer. Of merged pages, those members are
// left out that say that there is a next one. In the sandbox, call_boto3 takes keywords only (service_name, operation_name in PascalCase,
// region_name, params), returns the AWS response, and the value of the script is its last
// expression; of the standard library the script uses json and asyncio.
//
// The script returns {"regions": {<region>: {"document": …, "calls": n, "more": bool} or
// {"error": "…", "calls": n}}, "enabled": [<region>…] or null}. A Region's failure stays in that
// Region.
package script

import (
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/central-ops/central-ops/services/bridge"
)

//go:embed run.py
var source string

// before and after are what stands around the literal.
var before, after, _ = strings.Cut(source, "@ASK@")

// lenient reads what encoding/json does: names may stand twice, of which the last counts, and what is not
// UTF-8 becomes U+FFFD. It leaves strings as they are written, lone surrogates among them.
var lenient = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true), jsontext.PreserveRawStrings(true))

// The bounds inside the sandbox, for one account.
const (
	MaxPages = 100     // pages of one Region
	MaxBytes = 4 << 20 // response bytes of all Regions together after which no further page is read
	Parallel = 8       // Regions at a time
)

type payload struct {
	Service   string         `json:"service"`
	Operation string         `json:"operation"`
	Regions   []string       `json:"regions"`
	Enabled   bool           `json:"enabled"`
	Home      string         `json:"home"`
	Params    jsontext.Value `json:"params"`
	Pages     *pages         `json:"pages"`
	MaxPages  int            `json:"max_pages"`
	MaxBytes  int            `json:"max_bytes"`
	Parallel  int            `json:"parallel"`
	Seconds   float64        `json:"seconds"`
}

type pages struct {
	Input   []string `json:"input"`
	Output  []string `json:"output"`
	More    string   `json:"more"`
	Results []string `json:"results"`
}

// Region returns the Region that ask's API calls are made in for the Region as an answer shows it:
// itself, or, for a global service, the Region in which its partition serves those.
func Region(ask bridge.Ask, region string) string {
	if region != bridge.GlobalRegion {
		return region
	}
	home := ask.Home
	switch {
	case ask.Operation.Region != "":
		return ask.Operation.Region
	case strings.HasPrefix(home, "cn-"):
		return "cn-north-1"
	case strings.HasPrefix(home, "us-gov-"):
		return "us-gov-west-1"
	default:
		return "us-east-1"
	}
}

// Build returns the script for ask. No Region gets more than within, counted in the sandbox. ask's
// Params must be a valid JSON object.
func Build(ask bridge.Ask, within time.Duration) (string, error) {
	p := payload{
		Service: ask.Operation.Service, Operation: ask.Operation.Name, Enabled: ask.Enabled, Home: ask.Home,
		Params: jsontext.Value(ask.Params), MaxPages: MaxPages, MaxBytes: MaxBytes, Parallel: Parallel, Seconds: within.Seconds(),
	}
	for _, region := range ask.Regions {
		p.Regions = append(p.Regions, Region(ask, region))
	}
	if pagination := ask.Operation.Pagination; pagination != nil {
		p.Pages = &pages{Input: pagination.Input, Output: pagination.Output, More: pagination.MoreResults, Results: pagination.Results}
	}
	encoded, err := json.Marshal(p, lenient)
	if err != nil {
		return "", fmt.Errorf("write script: %w", err)
	}
	return before + Quote(encoded) + after, nil
}

// Quote returns compact JSON as a Python string literal that holds exactly that JSON text, with
// what is not ASCII written as JSON escapes. The literal is printable ASCII; its only quotes are
// the outer ones and escaped ones, so no value can end it. raw must be compact, as json.Marshal
// gives it: then there are no control characters outside of escapes.
func Quote(raw []byte) string {
	var b strings.Builder
	b.Grow(len(raw) + len(raw)/4 + 2)
	b.WriteByte('"')
	for len(raw) > 0 {
		r, size := utf8.DecodeRune(raw)
		raw = raw[size:]
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r >= ' ' && r < 0x7F:
			b.WriteRune(r)
		case r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\\u%04x\\u%04x`, high, low)
		default: // also 0x7F, and U+FFFD for what is not UTF-8
			fmt.Fprintf(&b, `\\u%04x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// Value is what the script returned.
type Value struct {
	Regions map[string]struct {
		Document any     `json:"document"`
		Calls    int     `json:"calls"`
		More     bool    `json:"more"`
		Error    *string `json:"error"`
	} `json:"regions"`
	Enabled []string `json:"enabled"`
}

// Parse reads the script's value for ask. Regions come in the order asked for, those that the
// account has not enabled left out; a Region that is missing without reason, or of which there is neither a document nor an error, is
// left out as well. It is an error if the Regions that are enabled were asked for and are not told: every account has some.
// classify turns an exception's text into an error with a code.
func Parse(raw []byte, ask bridge.Ask, classify func(text string) error) (regions []bridge.RegionReport, enabled []string, err error) {
	var value Value
	if err := json.Unmarshal(raw, &value, lenient); err != nil {
		return nil, nil, fmt.Errorf("the script's value is not what the script returns: %w", err)
	}
	if value.Regions == nil {
		return nil, nil, errors.New("the script's value has no regions")
	}
	for _, region := range ask.Regions {
		answer := value.Regions[Region(ask, region)]
		if _, some := answer.Document.(map[string]any); !some && answer.Error == nil { // the script returns objects only
			continue
		}
		report := bridge.RegionReport{Region: region, Document: answer.Document, Calls: answer.Calls, More: answer.More}
		if answer.Error != nil {
			report.Document, report.Err = nil, classify(*answer.Error)
		} else if !report.More && ask.Operation.Pagination == nil {
			report.More = hasToken(answer.Document)
		}
		regions = append(regions, report)
	}
	if ask.Enabled {
		if len(value.Enabled) == 0 {
			return nil, nil, errors.New("the script's value names no Region that the account has enabled")
		}
		enabled = slices.Sorted(slices.Values(value.Enabled))
	}
	return regions, slices.Compact(enabled), nil
}

// tokens are the names under which AWS APIs say that there is a next page.
var tokens = []string{"NextToken", "nextToken", "NextMarker", "Marker", "nextPageToken", "NextPageToken", "position"}

// hasToken says whether document, of an operation that is not known to have pages, names a next one.
func hasToken(document any) bool {
	object, ok := document.(map[string]any)
	if !ok {
		return false
	}
	for _, name := range tokens {
		if token, ok := object[name].(string); ok && token != "" {
			return true
		}
	}
	return false
}
