// Package interceptor is a REQUEST interceptor of AgentCore Gateway that puts the person's token
// where a Lambda target can read it.
//
// The event is {"interceptorInputVersion":"1.0","mcp":{"gatewayRequest":{"path","httpMethod",
// "headers","body"}, …}}, headers being there only with passRequestHeaders. The answer carries the
// same body, and all headers of the request but Authorization, with one set:
//
//	X-Amzn-Bedrock-AgentCore-Runtime-Custom-User-Token: <JWT>
//
// to the client's own value if there is one (the agent signs in as itself and sends the person's
// token beside), else to the bearer token (the person's own). It decides nothing: the bridge
// verifies the token. Being called twice for a request changes nothing.
//
// A Lambda's client context holds 3,583 bytes in base64, so a token of more than 2,000 bytes can't
// travel; it is refused here, in a JSON-RPC error that says so. Authorization, which the Gateway has
// checked, goes no further: the Gateway would hand what is returned of it to the target, and a second
// token does not fit.
//
// Sources: https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/gateway-interceptors-types.html,
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/gateway-headers.html.
package interceptor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

const (
	// UserTokenHeader is the header that the gateway target lets through to the bridge.
	UserTokenHeader = "X-Amzn-Bedrock-AgentCore-Runtime-Custom-User-Token"
	// MaxToken is the size of the largest token that travels, in bytes.
	MaxToken = 2000

	version = "1.0"

	// codeInvalidRequest and codeUnauthorized are the JSON-RPC codes of a refusal; the second is one
	// of the range that servers define for themselves.
	codeInvalidRequest = -32600
	codeUnauthorized   = -32001
)

type event struct {
	MCP struct {
		Request *struct {
			Headers map[string]any  `json:"headers"`
			Body    json.RawMessage `json:"body"`
		} `json:"gatewayRequest"`
	} `json:"mcp"`
}

// Answer is what the Gateway does next: pass Request on to the target, or answer with Response.
type Answer struct {
	Version string `json:"interceptorOutputVersion"`
	MCP     struct {
		Request  *Request  `json:"transformedGatewayRequest,omitempty"`
		Response *Response `json:"transformedGatewayResponse,omitempty"`
	} `json:"mcp"`
}

// Request is the request as the target gets it. Header values are passed on as they came: a string, or
// a list of them.
type Request struct {
	Headers map[string]any  `json:"headers"`
	Body    json.RawMessage `json:"body,omitempty"`
}

// Response ends the request.
type Response struct {
	StatusCode int               `json:"statusCode"`
	Headers    map[string]string `json:"headers"`
	Body       any               `json:"body"`
}

// Handle answers one event. It returns an error only for an event that is none of the Gateway's.
func Handle(_ context.Context, raw json.RawMessage) (Answer, error) {
	var in event
	if err := json.Unmarshal(raw, &in); err != nil {
		return Answer{}, fmt.Errorf("read interceptor event: %w", err)
	}
	request := in.MCP.Request
	if request == nil {
		return Answer{}, fmt.Errorf("read interceptor event: it has no mcp.gatewayRequest")
	}
	custom, doubled := lookup(request.Headers, UserTokenHeader)
	bearer, twice := lookup(request.Headers, "Authorization")
	if doubled || twice {
		return refuse(request.Body, http.StatusBadRequest, codeInvalidRequest,
			"the request carries two different user tokens; send one"), nil
	}
	token := bare(custom)
	if scheme, rest, _ := strings.Cut(strings.TrimSpace(bearer), " "); token == "" && strings.EqualFold(scheme, "bearer") {
		token = strings.TrimSpace(rest)
	}
	switch {
	case strings.IndexFunc(token, notOfToken) >= 0: // it would not be one header value, or no header value at all
		return refuse(request.Body, http.StatusUnauthorized, codeUnauthorized,
			"the user token holds characters that no token has: send the access token as it came from the user pool"), nil
	case token == "":
		return refuse(request.Body, http.StatusUnauthorized, codeUnauthorized,
			"the request carries no user token: sign in and send the access token as Authorization: Bearer, or in "+UserTokenHeader+
				" (if you did, the interceptor's passRequestHeaders is off)"), nil
	case len(token) > MaxToken:
		return refuse(request.Body, http.StatusBadRequest, codeInvalidRequest,
			fmt.Sprintf("the user token has %d bytes, but at most %d fit on the way to the bridge: take the person out of some groups, or shorten the token's claims",
				len(token), MaxToken)), nil
	}
	headers := make(map[string]any, len(request.Headers)+1)
	for name, value := range request.Headers {
		if !strings.EqualFold(name, UserTokenHeader) && !strings.EqualFold(name, "Authorization") {
			headers[name] = value
		}
	}
	headers[UserTokenHeader] = token
	answer := Answer{Version: version}
	answer.MCP.Request = &Request{Headers: headers, Body: request.Body}
	return answer, nil
}

// lookup returns the header of that name, in any case, if its value is a string or a list of one;
// differ says that it stands there twice with different values.
func lookup(headers map[string]any, name string) (value string, differ bool) {
	some := false
	for key, v := range headers {
		if !strings.EqualFold(key, name) {
			continue
		}
		values, ok := v.([]any)
		if !ok {
			values = []any{v}
		}
		for _, v := range values {
			text, _ := v.(string)
			if some && value != text {
				return "", true
			}
			value, some = text, true
		}
	}
	return value, false
}

// notOfToken says whether r can't stand in a bearer token
// (https://datatracker.ietf.org/doc/html/rfc6750#section-2.1).
func notOfToken(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~+/=", r)
}

// bare returns a token without the scheme that it may have before it.
func bare(value string) string {
	value = strings.TrimSpace(value)
	if scheme, token, ok := strings.Cut(value, " "); ok && strings.EqualFold(scheme, "bearer") {
		return strings.TrimSpace(token)
	}
	return value
}

// refuse answers the JSON-RPC request in body with an error.
func refuse(body json.RawMessage, status, code int, message string) Answer {
	var request struct {
		ID json.RawMessage `json:"id"`
	}
	if json.Unmarshal(body, &request) != nil || len(request.ID) == 0 {
		request.ID = json.RawMessage("null")
	}
	answer := Answer{Version: version}
	answer.MCP.Response = &Response{
		StatusCode: status,
		Headers:    map[string]string{"Content-Type": "application/json"},
		Body: map[string]any{"jsonrpc": "2.0", "id": request.ID,
			"error": map[string]any{"code": code, "message": message}},
	}
	return answer
}
