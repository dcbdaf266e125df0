// Package cognito signs people in to a Cognito user pool: with user name and password, with a
// browser, and again with a refresh token.
//
// It speaks the user pool API as plain JSON, because the three operations it needs are not signed
// with AWS credentials (the app client is public), and the SDK would double the binary:
//
//	POST <endpoint>/
//	Content-Type: application/x-amz-json-1.1
//	X-Amz-Target: AWSCognitoIdentityProviderService.InitiateAuth
//
//	{"AuthFlow":"USER_PASSWORD_AUTH","ClientId":"...","AuthParameters":{"USERNAME":"...","PASSWORD":"..."}}
//
// An answer is {"AuthenticationResult":{...}} or {"ChallengeName":"...","Session":"...",
// "ChallengeParameters":{...}}; an error has status 400 and {"__type":"...","message":"..."}.
// https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_InitiateAuth.html
package cognito

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	centralops "github.com/central-ops/central-ops/services/cli"
	"github.com/central-ops/central-ops/services/cli/internal/bearer"
)

const maxResponse = 1 << 20 // bytes of a response that are read

// Op is what an error of this package says was attempted.
const Op = "sign in"

// Pool is one app client of a user pool.
type Pool struct {
	Endpoint   string // without a slash at the end
	UserPoolID string
	ClientID   string
	HTTP       *http.Client // follows no redirects
	Now        func() time.Time
}

// Person answers what signing in asks for.
type Person interface {
	// NewPassword returns the password that replaces the temporary one.
	NewPassword() (string, error)
	// Code returns a one-time code; from names where to find it.
	Code(from string) (string, error)
}

// authenticated is a sign-in that succeeded.
type authenticated struct {
	AccessToken  string
	RefreshToken string
	ExpiresIn    int // seconds
}

// result is what the API answers.
type result struct {
	AuthenticationResult *authenticated
	ChallengeName        string
	ChallengeParameters  map[string]string
	Session              string
}

// codeChallenges are the challenges that a one-time code answers: the response's member, and where
// the person finds the code.
var codeChallenges = map[string]struct{ member, from string }{
	"SOFTWARE_TOKEN_MFA": {"SOFTWARE_TOKEN_MFA_CODE", "your authenticator app"},
	"SMS_MFA":            {"SMS_MFA_CODE", "the text message"},
	"EMAIL_OTP":          {"EMAIL_OTP_CODE", "the e-mail"},
}

// maxChallenges bounds a sign-in: new password, then a code, then a second try with the code.
const maxChallenges = 5

// SignIn signs in with user name and password and answers challenges through person.
func (p *Pool) SignIn(ctx context.Context, username, password string, person Person) (centralops.Tokens, error) {
	var answer result
	err := p.call(ctx, "InitiateAuth", map[string]any{
		"AuthFlow": "USER_PASSWORD_AUTH", "ClientId": p.ClientID,
		"AuthParameters": map[string]string{"USERNAME": username, "PASSWORD": password},
	}, &answer)
	for asked := 0; err == nil && answer.ChallengeName != ""; asked++ {
		if asked == maxChallenges {
			return centralops.Tokens{}, fault(centralops.Unavailable, "the user pool asks again and again for "+answer.ChallengeName, "centralops login")
		}
		var responses map[string]string
		if responses, err = respond(answer, username, person); err != nil {
			return centralops.Tokens{}, err
		}
		request := map[string]any{
			"ChallengeName": answer.ChallengeName, "ClientId": p.ClientID, "Session": answer.Session, "ChallengeResponses": responses,
		}
		answer = result{}
		err = p.call(ctx, "RespondToAuthChallenge", request, &answer)
	}
	if err != nil {
		return centralops.Tokens{}, err
	}
	return p.tokens(answer, "")
}

// respond returns the responses to a challenge.
func respond(challenge result, username string, person Person) (map[string]string, error) {
	// The pool may know the person by another name than was typed, and wants that one back.
	if id := challenge.ChallengeParameters["USER_ID_FOR_SRP"]; id != "" {
		username = id
	}
	if challenge.ChallengeName == "NEW_PASSWORD_REQUIRED" {
		if needed := challenge.ChallengeParameters["requiredAttributes"]; needed != "" && needed != "[]" {
			return nil, fault(centralops.Invalid, "the user pool wants more about you before the first sign-in: "+needed,
				"centralops login --browser, or your administrator")
		}
		password, err := person.NewPassword()
		return map[string]string{"USERNAME": username, "NEW_PASSWORD": password}, err
	}
	how, ok := codeChallenges[challenge.ChallengeName]
	if !ok {
		return nil, fault(centralops.Invalid, "the user pool asks for "+challenge.ChallengeName+", which a terminal can't answer",
			"centralops login --browser")
	}
	code, err := person.Code(how.from)
	return map[string]string{"USERNAME": username, how.member: code}, err
}

// Refresh returns new tokens for old ones.
func (p *Pool) Refresh(ctx context.Context, old centralops.Tokens) (centralops.Tokens, error) {
	if old.RefreshToken == "" {
		return centralops.Tokens{}, fault(centralops.Unauthenticated, "your sign-in has expired", "centralops login")
	}
	var answer result
	err := p.call(ctx, "InitiateAuth", map[string]any{
		"AuthFlow": "REFRESH_TOKEN_AUTH", "ClientId": p.ClientID,
		"AuthParameters": map[string]string{"REFRESH_TOKEN": old.RefreshToken},
	}, &answer)
	if centralops.CodeOf(err) == centralops.Unauthenticated {
		return centralops.Tokens{}, fault(centralops.Unauthenticated, "your sign-in has expired or was ended", "centralops login")
	}
	if err != nil {
		return centralops.Tokens{}, err
	}
	return p.tokens(answer, old.RefreshToken)
}

// Revoke ends the sign-in: its refresh token gives no more access tokens. Who verifies the one that there is by its
// signature, as Runtime, Gateway and bridge do, takes it until it expires.
func (p *Pool) Revoke(ctx context.Context, tokens centralops.Tokens) error {
	return p.call(ctx, "RevokeToken", map[string]any{"Token": tokens.RefreshToken, "ClientId": p.ClientID}, nil)
}

// tokens returns what was signed in with. The answer to a refresh has a refresh token only if the
// pool rotates them.
func (p *Pool) tokens(answer result, refresh string) (centralops.Tokens, error) {
	got := answer.AuthenticationResult
	if got == nil || got.AccessToken == "" {
		return centralops.Tokens{}, fault(centralops.Unavailable, "the user pool answered without an access token", "centralops doctor")
	}
	claims, err := ParseClaims(got.AccessToken)
	if err != nil {
		return centralops.Tokens{}, fault(centralops.Unavailable, "the user pool sent a token that can't be read: "+err.Error(), "centralops doctor")
	}
	if got.RefreshToken != "" {
		refresh = got.RefreshToken
	}
	return centralops.Tokens{
		UserPoolID: p.UserPoolID, ClientID: p.ClientID, Username: claims.Username,
		AccessToken: got.AccessToken, RefreshToken: refresh,
		Expires: p.Now().Add(time.Duration(got.ExpiresIn) * time.Second).UTC().Truncate(time.Second),
	}, nil
}

// call sends one operation. into may be nil.
func (p *Pool) call(ctx context.Context, operation string, request, into any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("encode %s: %w", operation, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.Endpoint+"/", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "AWSCognitoIdentityProviderService."+operation)
	resp, err := p.HTTP.Do(req)
	if err != nil {
		return unanswered(p.Endpoint, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse))
	if err != nil {
		return unanswered(p.Endpoint, err)
	}
	if resp.StatusCode != http.StatusOK {
		return refusal(resp.StatusCode, raw)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fault(centralops.Unavailable, p.Endpoint+" did not answer as a user pool does: "+err.Error(), "centralops doctor")
	}
	return nil
}

// unanswered returns the error of a request to base that got no response. Nothing that a person asks makes signing in slow.
func unanswered(base string, err error) error {
	err = bearer.TransportError(Op, base, err)
	if known, ok := errors.AsType[*centralops.Error](err); ok && known.Code == centralops.Timeout {
		known.Hint = "again in a minute, or centralops doctor"
	}
	return err
}

// refusals says what the API's errors mean for the person.
var refusals = map[string]struct {
	code centralops.Code
	hint string
}{
	"NotAuthorizedException":                  {centralops.Unauthenticated, "centralops login, with the right user name and password"},
	"UserNotFoundException":                   {centralops.Unauthenticated, "centralops login, with the right user name and password"},
	"UserNotConfirmedException":               {centralops.Unauthenticated, "your administrator: the user is not confirmed yet"},
	"PasswordResetRequiredException":          {centralops.Unauthenticated, "centralops login --browser, to set a new password"},
	"CodeMismatchException":                   {centralops.Unauthenticated, "centralops login, with the code that is shown now"},
	"ExpiredCodeException":                    {centralops.Unauthenticated, "centralops login, with the code that is shown now"},
	"InvalidPasswordException":                {centralops.Invalid, "centralops login, with a new password that the pool's policy allows"},
	"PasswordHistoryPolicyViolationException": {centralops.Invalid, "centralops login, with a new password that was not used before"},
	"InvalidParameterException":               {centralops.Invalid, "centralops doctor, or centralops login --browser if the app client takes no passwords"},
	"ResourceNotFoundException":               {centralops.NotFound, "centralops configure, to check client_id and region"},
	"TooManyRequestsException":                {centralops.Throttled, "again in a minute"},
	"LimitExceededException":                  {centralops.Throttled, "again in a minute"},
	"TooManyFailedAttemptsException":          {centralops.Throttled, "again in 15 minutes"},
	"ForbiddenException":                      {centralops.Forbidden, "your administrator: the pool's firewall refused this request"},
}

// refusal returns the error of a status other than 200.
func refusal(status int, raw []byte) error {
	var body struct {
		Type string `json:"__type"`
	}
	_ = json.Unmarshal(raw, &body) // a proxy may answer in another format
	kind := body.Type[strings.LastIndex(body.Type, "#")+1:]
	// What to try follows the message in the same line.
	message := strings.TrimRight(strings.TrimSpace(kind+": "+bearer.ErrorText(bytes.NewReader(raw), maxResponse)), ".")
	if known, ok := refusals[kind]; ok {
		return fault(known.code, message, known.hint)
	}
	if kind == "" {
		message = fmt.Sprintf("the user pool's endpoint answered %d", status)
	}
	return fault(centralops.Unavailable, message, "centralops doctor")
}

func fault(code centralops.Code, message, hint string) error {
	return &centralops.Error{Op: Op, Code: code, Message: message, Hint: hint}
}
