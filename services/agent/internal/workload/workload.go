// Package workload trades the workload access token that the Runtime puts into a request for an OAuth
// token that the Gateway accepts: AgentCore Identity's GetResourceOauth2Token with the M2M flow.
//
// The workload access token itself is no credential for a Gateway. With the M2M token the Gateway sees
// the agent, not the person; so the person's own token travels beside it, in UserTokenHeader, and the
// bridge verifies it.
//
// https://docs.aws.amazon.com/bedrock-agentcore/latest/APIReference/API_GetResourceOauth2Token.html
// and https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/get-workload-access-token.html (read 2026-10).
package workload

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	agent "github.com/central-ops/central-ops/services/agent"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcore"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcore/types"
	"github.com/aws/smithy-go"
)

// UserTokenHeader carries the person's token past the Gateway. Only X-Amzn-* names of this form may be
// passed on (https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/gateway-headers.html, read 2026-10).
const UserTokenHeader = "X-Amzn-Bedrock-AgentCore-Runtime-Custom-User-Token"

// scheme begins the Authorization header.
const scheme = "Bearer "

const (
	// renewBefore is how long before its expiry a token is replaced: longer than a tool call takes.
	renewBefore = 2 * time.Minute
	// unknownLife is how long a token is kept that does not say when it expires. Cognito's shortest is 5 minutes.
	unknownLife = 2 * time.Minute
)

// Client is what the package calls of AgentCore's data plane.
type Client interface {
	GetResourceOauth2Token(context.Context, *bedrockagentcore.GetResourceOauth2TokenInput, ...func(*bedrockagentcore.Options)) (*bedrockagentcore.GetResourceOauth2TokenOutput, error)
}

// Authorizer gives the Gateway's requests an M2M token. One Authorizer serves one session: what was got
// with one person's workload access token is not used for another's.
type Authorizer struct {
	client   Client
	provider string
	scopes   []string

	mu      sync.Mutex // held while a token is got, so that calls at once share one
	token   string
	expires time.Time
}

// New returns an Authorizer for the named OAuth2 credential provider.
func New(client Client, provider string, scopes []string) *Authorizer {
	return &Authorizer{client: client, provider: provider, scopes: scopes}
}

// Authorize returns the headers of a request. A token that the Gateway refused is not used again; calls at
// once that were refused with the same one share its successor.
func (a *Authorizer) Authorize(ctx context.Context, caller agent.Caller, refused http.Header) (http.Header, error) {
	if caller.WorkloadToken == "" {
		return nil, &agent.Error{
			Op: "get the agent's token", Code: agent.CodeUnauthenticated,
			Message: "the Runtime sent no workload access token",
			Hint:    "sign in again and ask through the Runtime; the operator: the Runtime sends one only when it has a JWT authorizer",
		}
	}
	token, err := a.get(ctx, caller.WorkloadToken, strings.TrimPrefix(refused.Get("Authorization"), scheme))
	if err != nil {
		return nil, err
	}
	header := make(http.Header, 2)
	header.Set("Authorization", scheme+token)
	header.Set(UserTokenHeader, caller.Token)
	return header, nil
}

func (a *Authorizer) get(ctx context.Context, workloadToken, refused string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	renew := refused != "" && refused == a.token
	if !renew && a.token != "" && time.Until(a.expires) > 0 {
		return a.token, nil
	}
	input := &bedrockagentcore.GetResourceOauth2TokenInput{
		WorkloadIdentityToken:          aws.String(workloadToken),
		ResourceCredentialProviderName: aws.String(a.provider),
		Scopes:                         a.scopes,
		Oauth2Flow:                     types.Oauth2FlowTypeM2m,
	}
	if renew {
		input.ForceAuthentication = aws.Bool(true) // the vault would give the same token again
	}
	output, err := a.client.GetResourceOauth2Token(ctx, input)
	if err != nil {
		return "", classify(err)
	}
	if aws.ToString(output.AccessToken) == "" {
		return "", &agent.Error{
			Op: "get the agent's token", Code: agent.CodeUnavailable, Message: "AgentCore Identity gave no token",
			Hint: "the operator: check the credential provider and its scopes",
		}
	}
	a.token = *output.AccessToken
	a.expires = expiry(a.token, time.Now()).Add(-renewBefore)
	return a.token, nil
}

// expiry reads the exp claim of a JWT. The token is not ours to verify: the Gateway does.
func expiry(token string, now time.Time) time.Time {
	unknown := now.Add(renewBefore + unknownLife)
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return unknown
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return unknown
	}
	var claims struct {
		Expires float64 `json:"exp"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.Expires <= 0 || claims.Expires > 1<<40 {
		return unknown
	}
	return time.Unix(int64(claims.Expires), 0)
}

// classify turns what the SDK returned into an agent.Error.
func classify(err error) *agent.Error {
	failure := &agent.Error{Op: "get the agent's token", Err: err}
	var api smithy.APIError
	if !errors.As(err, &api) {
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			return agent.AsError(err)
		}
		failure.Code, failure.Message, failure.Hint = agent.CodeUnavailable, "AgentCore Identity could not be reached", "ask again in a minute"
		return failure
	}
	failure.Subject = api.ErrorCode()
	switch api.ErrorCode() {
	case "ThrottlingException":
		failure.Code, failure.Message, failure.Hint = agent.CodeThrottled, "AgentCore Identity has too many requests at once", "wait a minute and ask again"
	case "UnauthorizedException":
		failure.Code, failure.Message, failure.Hint = agent.CodeUnauthenticated, "the workload access token was refused", "sign in again, then ask again"
	case "AccessDeniedException":
		failure.Code, failure.Message = agent.CodeForbidden, "the agent may not get its token"
		failure.Hint = "the operator: allow bedrock-agentcore:GetResourceOauth2Token and secretsmanager:GetSecretValue on the provider's secret"
	case "ResourceNotFoundException":
		failure.Code, failure.Message, failure.Hint = agent.CodeNotFound, "the credential provider does not exist", "the operator: check OAUTH_PROVIDER_NAME"
	default:
		failure.Code, failure.Message, failure.Hint = agent.CodeUnavailable, "AgentCore Identity gave no token", "ask again in a minute; the operator: check the credential provider"
	}
	return failure
}
