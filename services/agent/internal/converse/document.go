package converse

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"

	brdocument "github.com/aws/aws-sdk-go-v2/service/bedrockruntime/document"
	smithydocument "github.com/aws/smithy-go/document"
)

// document returns a JSON object as the SDK's document type. Numbers keep their digits; keys are sent
// in sorted order, which keeps a cached prefix the same from call to call.
func document(raw json.RawMessage) (brdocument.Interface, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var value map[string]any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	if value == nil {
		return nil, errors.New("null instead of an object")
	}
	if emptyKey(value) {
		return nil, errors.New("a member without a name") // smithy's encoder refuses it, and the whole request with it
	}
	return brdocument.NewLazyDocument(withNumbers(value)), nil
}

// emptyKey tells whether some object in value has a member whose name is empty.
func emptyKey(value any) bool {
	switch value := value.(type) {
	case map[string]any:
		for key, member := range value {
			if key == "" || emptyKey(member) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(value, emptyKey)
	}
	return false
}

func emptyObject() brdocument.Interface { return brdocument.NewLazyDocument(map[string]any{}) }

// withNumbers replaces encoding/json's numbers by smithy's, which its encoder writes as they are.
func withNumbers(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for key, member := range value {
			value[key] = withNumbers(member)
		}
	case []any:
		for i, member := range value {
			value[i] = withNumbers(member)
		}
	case json.Number:
		return smithydocument.Number(value)
	}
	return value
}

// rawJSON returns a document of an answer as JSON; nil becomes {}.
func rawJSON(document brdocument.Interface) json.RawMessage {
	if document == nil {
		return json.RawMessage("{}")
	}
	raw, err := document.MarshalSmithyDocument()
	if err != nil {
		return nil // not a JSON object, which the loop tells the model
	}
	return raw
}
