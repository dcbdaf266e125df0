package awsmcp

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/central-ops/central-ops/services/bridge"
)

// Hub calls what needs no member account, as the bridge's own role. It is safe for concurrent use.
type Hub struct {
	client      *Client
	credentials aws.CredentialsProvider
	region      string // the bridge's own
	logger      *slog.Logger
}

// NewHub returns a Hub that calls through client.
func NewHub(client *Client, credentials aws.CredentialsProvider, region string, logger *slog.Logger) *Hub {
	return &Hub{client, credentials, region, logger}
}

func (h *Hub) role(ctx context.Context) (bridge.RoleSession, error) {
	own, err := h.credentials.Retrieve(ctx)
	if err != nil {
		return bridge.RoleSession{}, &bridge.Error{Op: "read own credentials", Code: bridge.Unavailable, Err: err, Hint: "check the bridge's role"}
	}
	return bridge.RoleSession{RoleARN: "self", SessionName: "self", Credentials: bridge.Credentials{
		AccessKeyID: own.AccessKeyID, SecretAccessKey: own.SecretAccessKey, SessionToken: own.SessionToken, Expires: own.Expires}}, nil
}

// Call calls tool, named without the server's prefix, and returns its result as JSON. The server
// reports a failure of these tools as a success with an errorMessage.
func (h *Hub) Call(ctx context.Context, tool string, arguments json.RawMessage) (json.RawMessage, error) {
	role, err := h.role(ctx)
	if err != nil {
		return nil, err
	}
	value, err := h.client.Call(ctx, role, h.region, ToolPrefix+tool, jsontext.Value(arguments))
	if err != nil {
		return nil, ofHub(tool, err)
	}
	if text := complaint(value); text != "" {
		return nil, &bridge.Error{Op: tool, Code: bridge.Unavailable, Err: errors.New(text), Hint: "check the arguments, or ask again"}
	}
	var wrapped struct {
		Content struct {
			Result jsontext.Value `json:"result"`
		} `json:"content"`
	}
	if unmarshal(value, &wrapped) == nil && len(wrapped.Content.Result) > 0 { // some other shape is passed on as it is
		value = wrapped.Content.Result
	}
	if text := string(value); text == `""` || text == "null" {
		return nil, &bridge.Error{Op: tool, Code: bridge.Unavailable, Err: errors.New("the server answered with nothing"), Hint: "check the arguments, or ask again"}
	}
	return json.RawMessage(value), nil
}

// ofHub returns err as that of a call without a member account.
func ofHub(tool string, err error) error {
	var known *bridge.Error
	if !errors.As(err, &known) {
		return err
	}
	failure := *known
	var changed *changedError
	switch {
	case failure.Code == bridge.Unauthenticated:
		// These credentials are the bridge's own: of a whole tool call, unauthenticated says that the person must sign in.
		failure.Code = bridge.Unavailable
	case errors.As(err, &changed) && changed.code == codeInvalidParams: // the arguments are the caller's
		failure.Code, failure.Err, failure.Hint = bridge.Invalid, changed, "check the arguments"
	case failure.Op == classified:
		failure.Op = tool
		switch failure.Code {
		case bridge.Forbidden:
			failure.Hint = "check the bridge's own role"
		case bridge.Throttled, bridge.Timeout:
			failure.Hint = "ask again in a moment"
		default:
			failure.Hint = "check the arguments, or ask again"
		}
	}
	return &failure
}

// complaint returns what a result says about a failure that it is, though it comes as a success: in one of the members by which these
// tools tell it, of the result itself or of what it wraps. "" if it is none.
func complaint(result jsontext.Value) string {
	var object map[string]jsontext.Value
	if unmarshal(result, &object) != nil {
		return ""
	}
	said := func(names ...string) string {
		for _, name := range names {
			switch value := string(object[name]); value {
			case "", "null", "false", `""`, "{}", "[]":
			default:
				var text string
				if unmarshal(object[name], &text) == nil {
					value = text
				}
				return value
			}
		}
		return ""
	}
	if text := said("errorMessage", "error"); text != "" {
		return text
	}
	if string(object["isError"]) == "true" || strings.EqualFold(string(object["status"]), `"error"`) {
		return cmp.Or(said("message", "error_code", "result", "content"), "no reason was given")
	}
	return cmp.Or(complaint(object["content"]), complaint(object["result"]))
}

// CheckTools holds the server's tool list against what the bridge needs, and logs by name what is
// missing or takes other arguments. It also leaves the connection and the hub's session warm.
func (h *Hub) CheckTools(ctx context.Context) {
	role, err := h.role(ctx)
	if err != nil {
		h.logger.WarnContext(ctx, "upstream tools not checked", "code", bridge.CodeOf(err), "error", err)
		return
	}
	if err := h.client.Check(ctx, role); err != nil {
		h.logger.WarnContext(ctx, "upstream tools not checked", "code", bridge.CodeOf(err), "error", err)
		return
	}
	if drift := h.client.Drift(); len(drift) > 0 {
		h.logger.ErrorContext(ctx, "upstream tools drifted", "drift", strings.Join(drift, "; "))
		return
	}
	h.logger.DebugContext(ctx, "upstream tools checked")
}
