package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/central-ops/central-ops/services/bridge"
	"github.com/central-ops/central-ops/services/bridge/internal/ask"
	"github.com/central-ops/central-ops/services/bridge/internal/awsmcp"
	"github.com/central-ops/central-ops/services/bridge/internal/operations"
)

// encodeJSON writes what bridge.EncodeJSON writes, in less than half the time.
func encodeJSON(v any) ([]byte, error) {
	return jsonv2.Marshal(v, jsonv2.Deterministic(true), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// catalog is the operation table as the domain sees it.
type catalog struct {
	table   *operations.Table
	allowed map[string]bool // data reads opted in to, "service:operation" in lower case
	regions func() []string
}

var _ bridge.Catalog = catalog{}

func newCatalog(table *operations.Table, dataReads []string) catalog {
	c := catalog{table: table, allowed: map[string]bool{}, regions: sync.OnceValue(table.Regions)}
	for _, read := range dataReads {
		c.allowed[strings.ToLower(read)] = true
	}
	return c
}

// checkDataRead returns why read, "service:Operation", has no effect as a data read to permit; nil if it has one, or if the operation is
// permitted anyway.
func checkDataRead(table *operations.Table, read string) error {
	service, operation, ok := strings.Cut(read, ":")
	if !ok {
		return nil // package config says so
	}
	found, err := table.Resolve(service, operation)
	switch {
	case err != nil:
		return fmt.Errorf("%q: %w", read, err)
	case !strings.EqualFold(read, found.String()):
		return fmt.Errorf("%q is called %s", read, found)
	}
	all := func(string, string) bool { return true }
	if verdict := table.Classify(found, nil, all); !verdict.Allowed {
		return fmt.Errorf("%s, and no configuration allows it", verdict.Reason)
	}
	return nil
}

func (c catalog) Resolve(service, operation string, params json.RawMessage) (bridge.Operation, error) {
	found, err := c.table.Resolve(service, operation)
	var unknown *operations.UnknownError
	if errors.As(err, &unknown) {
		refusal := &bridge.Error{Op: "find operation", Code: bridge.NotFound, Err: unknown, Hint: "services are named as in boto3, operations as in the API"}
		if len(unknown.Nearest) > 0 {
			refusal.Hint = "did you mean " + strings.Join(unknown.Nearest, ", ") + "?"
		}
		return bridge.Operation{}, refusal
	}
	if err != nil {
		return bridge.Operation{}, &bridge.Error{Op: "find operation", Code: bridge.Invalid, Err: err}
	}
	resolved := bridge.Operation{Service: found.Service, Name: found.Name, AccessLevel: found.AccessLevel, Global: found.Global,
		Rows: found.Rows, Region: found.Region}
	decoder := json.NewDecoder(bytes.NewReader(params))
	decoder.UseNumber()
	var decoded map[string]any
	if err := decoder.Decode(&decoded); err != nil {
		return resolved, &bridge.Error{Op: "read query", Code: bridge.Invalid, Err: errors.New("params is not a JSON object")}
	}
	if verdict := c.table.Classify(found, decoded, c.dataRead); !verdict.Allowed {
		return resolved, &bridge.Error{Op: "check operation", Code: bridge.Forbidden, Err: errors.New(verdict.Reason), Hint: verdict.Hint}
	}
	if err := found.CheckParams(decoded); err != nil {
		return resolved, &bridge.Error{Op: "check params", Code: bridge.Invalid, Err: fmt.Errorf("%s", strings.ReplaceAll(err.Error(), "\n", "; ")),
			Hint: "the operation's parameters are those of boto3"}
	}
	if own := found.OwnAccount(); own != "" && decoded[own] == nil {
		resolved.OwnAccount = own
	}
	if p := found.Pagination; p != nil {
		resolved.Pagination = &bridge.Pagination{Input: p.Input, Output: p.Output, MoreResults: p.MoreResults, Results: p.Results}
	}
	resolved.SessionPolicy = c.table.SessionPolicy(found)
	return resolved, nil
}

func (c catalog) dataRead(service, operation string) bool {
	return c.allowed[strings.ToLower(service+":"+operation)]
}

func (c catalog) Redact(operation bridge.Operation, document any) (any, int) {
	return c.table.Redact(operation.Service, operation.Name, document)
}

func (c catalog) Regions() []string { return c.regions() }

func (c catalog) NearestRegions(region string) []string { return c.table.NearestRegions(region) }

// sandbox is the AWS MCP Server as package ask sees it.
type sandbox struct{ client *awsmcp.Client }

var _ ask.Sandbox = sandbox{}

func (s sandbox) Run(ctx context.Context, role bridge.RoleSession, region, code string) (json.RawMessage, []ask.Call, bool, error) {
	result, err := s.client.Run(ctx, role, region, code)
	if err != nil {
		err, expired := unwrap(err)
		return nil, nil, expired, err
	}
	calls := make([]ask.Call, len(result.Calls))
	for i, call := range result.Calls {
		calls[i] = ask.Call{Operation: call.Service + ":" + call.Operation, Region: cmp.Or(call.Region, call.Name)}
	}
	return json.RawMessage(result.Value), calls, false, nil
}

func (s sandbox) Classify(text string, account bridge.AccountID) (error, bool) {
	return unwrap(awsmcp.Classify(text, account))
}

// unwrap takes an *awsmcp.ExpiredError off err, and says that it was one.
func unwrap(err error) (error, bool) {
	var expired *awsmcp.ExpiredError
	if errors.As(err, &expired) {
		return expired.Err, true
	}
	return err, false
}

// notes says what all of them say.
func notes(sources ...func() []string) func() []string {
	return func() []string {
		var all []string
		for _, source := range sources {
			all = append(all, source()...)
		}
		return all
	}
}

// driftNotes says with each answer what of the upstream's tools has changed.
func driftNotes(upstream *awsmcp.Client) func() []string {
	return func() []string {
		drift := upstream.Drift()
		if len(drift) == 0 {
			return nil
		}
		return []string{"the AWS MCP Server's tools are not those that this bridge was made for: " + strings.Join(drift, "; ")}
	}
}
