package awsmcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Ask is one AWS call that a script would make.
type Ask struct {
	Account   string
	Region    string
	Service   string // boto3 client name
	Operation string // PascalCase
	Params    json.RawMessage
}

// Answer gives the response of an AWS call: a JSON object, or an error whose text the script reports for the
// Region, such as APIError makes.
type Answer func(ctx context.Context, ask Ask) (json.RawMessage, error)

// APIError is an error of an AWS service as boto3 words it, for use in an Answer.
func APIError(code, operation, message string) error {
	return &apiError{Code: code, Operation: operation, Message: message}
}

// scripted answers the bridge's script without Python. All that it understands of the script is the one JSON
// object in it, which json.loads decodes from a string literal.
type scripted struct{ answer Answer }

func (scripted) close() {}

// loads is what stands before the literal in the bridge's script.
const loads = "json.loads("

func (x scripted) run(ctx context.Context, s script) (scriptResult, error) {
	ask, err := embedded(s.code)
	if err != nil {
		return scriptResult{}, err
	}
	type region struct {
		Document json.RawMessage `json:"document,omitempty"`
		Calls    int             `json:"calls"`
		More     bool            `json:"more"`
		Error    string          `json:"error,omitempty"`
	}
	var params map[string]any
	if err := json.Unmarshal(ask.Params, &params); err != nil {
		return scriptResult{}, fmt.Errorf("params of the script: %w", err)
	}
	value := struct {
		Regions map[string]region `json:"regions"`
		Enabled []string          `json:"enabled"`
	}{Regions: map[string]region{}}
	result := scriptResult{Status: "success"}
	if ask.Enabled {
		value.Enabled = ask.Regions
	}
	for _, name := range ask.Regions {
		call := apiCall{Service: ask.Service, Operation: ask.Operation, Status: "success", region: name, readOnly: readOnly(ask.Operation)}
		answer := region{Calls: 1}
		err := s.authorize(ask.Service, ask.Operation, name, params)
		if err == nil {
			answer.Document, err = x.answer(ctx, Ask{Account: s.caller.Account, Region: name, Service: ask.Service, Operation: ask.Operation, Params: ask.Params})
		}
		if err != nil {
			call.Status, call.errorCode = "error", errorCode(err)
			answer.Error = fmt.Sprintf("ClientError('%s')", err)
		}
		value.Regions[name] = answer
		result.APICalls = append(result.APICalls, call)
	}
	result.ReturnValue, err = json.Marshal(value)
	return result, err
}

// embeddedAsk are the members of the script's JSON that matter here.
type embeddedAsk struct {
	Service   string          `json:"service"`
	Operation string          `json:"operation"`
	Regions   []string        `json:"regions"`
	Enabled   bool            `json:"enabled"`
	Params    json.RawMessage `json:"params"`
}

// embedded finds the JSON in a script. A Python literal without other escapes than \" and \\ is a JSON string too.
func embedded(code string) (embeddedAsk, error) {
	_, rest, found := strings.Cut(code, loads)
	if !found {
		return embeddedAsk{}, errors.New("the scripted mode understands only the bridge's script: no json.loads in it")
	}
	var literal string
	if err := json.NewDecoder(strings.NewReader(rest)).Decode(&literal); err != nil {
		return embeddedAsk{}, fmt.Errorf("the scripted mode understands only the bridge's script: after json.loads: %w", err)
	}
	var ask embeddedAsk
	if err := json.Unmarshal([]byte(literal), &ask); err != nil {
		return embeddedAsk{}, fmt.Errorf("the scripted mode understands only the bridge's script: %w", err)
	}
	if ask.Service == "" || ask.Operation == "" {
		return embeddedAsk{}, errors.New("the scripted mode understands only the bridge's script: no service and operation in its JSON")
	}
	if len(ask.Params) == 0 {
		ask.Params = json.RawMessage("{}")
	}
	return ask, nil
}
