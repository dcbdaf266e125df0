package converse

import (
	"context"
	"errors"
	"net"
	"strings"

	agent "github.com/central-ops/central-ops/services/agent"

	"github.com/aws/smithy-go"
)

// classify turns what the SDK returned into an agent.Error, by the code of the service.
func classify(err error) *agent.Error {
	var classified *agent.Error
	if errors.As(err, &classified) {
		return classified
	}
	failure := &agent.Error{Op: "ask the model", Err: err}
	var api smithy.APIError
	if !errors.As(err, &api) {
		var network net.Error
		switch {
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
			return agent.AsError(err)
		case errors.Is(err, errIncomplete), errors.As(err, &network):
			failure.Code, failure.Message, failure.Hint = agent.CodeUnavailable, "the connection to the model broke", "ask again"
		default:
			failure.Code, failure.Message, failure.Hint = agent.CodeUnavailable, "the model could not be reached or its answer not be read", "ask again; the operator finds the cause in the agent's log"
		}
		return failure
	}

	failure.Subject = api.ErrorCode()
	switch api.ErrorCode() {
	case "ThrottlingException", "ServiceQuotaExceededException":
		failure.Code, failure.Message, failure.Hint = agent.CodeThrottled, "the model has too many requests at once", "wait a minute and ask again"
	case "ModelTimeoutException":
		failure.Code, failure.Message, failure.Hint = agent.CodeTimeout, "the model took too long", "ask again, or ask for less at once"
	case "ModelNotReadyException", "ServiceUnavailableException", "InternalServerException", "ModelErrorException", "ModelStreamErrorException":
		failure.Code, failure.Message, failure.Hint = agent.CodeUnavailable, "the model does not work at the moment", "ask again in a minute"
	case "AccessDeniedException":
		failure.Code, failure.Message = agent.CodeForbidden, "the agent may not use its model"
		failure.Hint = "the operator: allow bedrock:InvokeModel on the inference profile and on the model in all of the profile's Regions, and accept the model's terms"
	case "UnrecognizedClientException", "ExpiredTokenException", "InvalidSignatureException", "MissingAuthenticationTokenException":
		failure.Code, failure.Message, failure.Hint = agent.CodeUnavailable, "the agent's AWS credentials were refused by Bedrock", "the operator: check the Runtime's execution role"
	case "ResourceNotFoundException":
		failure.Code, failure.Message, failure.Hint = agent.CodeNotFound, "the model or guardrail does not exist in this Region", "the operator: check MODEL_ID and GUARDRAIL_ID"
	case "ValidationException":
		if contextTooLong(api.ErrorMessage()) {
			failure.Code, failure.Message, failure.Hint = agent.CodeConflict, "the conversation is too long for the model", "begin a new session"
			return failure
		}
		failure.Code, failure.Message = agent.CodeInternal, "Bedrock refused the request as invalid"
		failure.Hint = "ask in a new session; the operator: check that MODEL_ID supports tool use, and find the cause in the agent's log"
	default:
		failure.Code, failure.Message, failure.Hint = agent.CodeInternal, "Bedrock answered with an error", "ask again; the operator finds the cause in the agent's log"
	}
	return failure
}

// contextTooLong recognises the one ValidationException that the agent can do something about. It has
// no code of its own. The messages, as models on Bedrock word them: "Input is too long for requested
// model.", "prompt is too long: 203105 tokens > 200000 maximum", "input length and max_tokens exceed
// context limit".
func contextTooLong(message string) bool {
	message = strings.ToLower(message)
	for _, words := range []string{"too long", "context limit", "context length", "too many input tokens"} {
		if strings.Contains(message, words) {
			return true
		}
	}
	return false
}
