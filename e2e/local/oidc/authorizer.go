// Package oidc is the sign-in half of the local platform: what Cognito publishes for a user pool that lives in
// moto (Front), and the check that AgentCore makes of a bearer token (Authorizer).
//
// Cognito's access tokens carry client_id, token_use "access", scope, username, cognito:groups and no aud; its ID
// tokens carry aud, token_use "id" and no client_id. An authorizer that allows both audiences and clients therefore
// refuses every stock token.
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/inbound-jwt-authorizer.html
package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"
)

// Reason tells why a token was refused.
type Reason string

// The reasons. Only InsufficientScope is told to the client as such; Unavailable is the service's fault, not the token's.
const (
	Missing           Reason = "missing"
	Malformed         Reason = "malformed"
	BadSignature      Reason = "bad signature"
	Expired           Reason = "expired"
	NotYetValid       Reason = "not yet valid"
	WrongIssuer       Reason = "wrong issuer"
	WrongAudience     Reason = "wrong audience"
	WrongClient       Reason = "wrong client"
	InsufficientScope Reason = "insufficient scope"
	WrongClaim        Reason = "wrong claim"
	Unavailable       Reason = "keys unavailable"
)

// Error is a refusal. Message never holds the token.
type Error struct {
	Reason  Reason
	Message string
}

func (e *Error) Error() string { return "bearer token: " + string(e.Reason) + ": " + e.Message }

// CustomJWT is the control plane's customJWTAuthorizer. All that is set must hold.
type CustomJWT struct {
	DiscoveryURL    string        `json:"discoveryUrl"` // ends in /.well-known/openid-configuration
	AllowedAudience []string      `json:"allowedAudience,omitempty"`
	AllowedClients  []string      `json:"allowedClients,omitempty"`
	AllowedScopes   []string      `json:"allowedScopes,omitempty"` // the token needs one of them
	CustomClaims    []CustomClaim `json:"customClaims,omitempty"`
}

// CustomClaim demands one claim of the token.
type CustomClaim struct {
	Name  string     `json:"inboundTokenClaimName"`
	Type  string     `json:"inboundTokenClaimValueType"` // STRING or STRING_ARRAY
	Match ClaimMatch `json:"authorizingClaimMatchValue"`
}

// ClaimMatch is what the claim is compared with: EQUALS for STRING; CONTAINS and CONTAINS_ANY for STRING_ARRAY.
type ClaimMatch struct {
	Operator string     `json:"claimMatchOperator"`
	Value    MatchValue `json:"claimMatchValue"`
}

// MatchValue has one of its members set.
type MatchValue struct {
	String     string   `json:"matchValueString,omitempty"`
	StringList []string `json:"matchValueStringList,omitempty"`
}

const discoverySuffix = "/.well-known/openid-configuration"

// Validate refuses what the control plane refuses; it reports every fault.
func (c CustomJWT) Validate() error {
	var faults []error
	if !strings.HasSuffix(c.DiscoveryURL, discoverySuffix) {
		faults = append(faults, fmt.Errorf("discoveryUrl %q must end in %s", c.DiscoveryURL, discoverySuffix))
	}
	if len(c.AllowedAudience)+len(c.AllowedClients)+len(c.AllowedScopes)+len(c.CustomClaims) == 0 {
		faults = append(faults, errors.New("one of allowedAudience, allowedClients, allowedScopes and customClaims is required"))
	}
	for _, claim := range c.CustomClaims {
		faults = append(faults, claim.validate())
	}
	return errors.Join(faults...)
}

func (c CustomClaim) validate() error {
	operators := map[string][]string{"STRING": {"EQUALS"}, "STRING_ARRAY": {"CONTAINS", "CONTAINS_ANY"}}[c.Type]
	if operators == nil {
		return fmt.Errorf("customClaims: %s: inboundTokenClaimValueType %q must be STRING or STRING_ARRAY", c.Name, c.Type)
	}
	if !slices.Contains(operators, c.Match.Operator) {
		return fmt.Errorf("customClaims: %s: claimMatchOperator %q does not go with %s", c.Name, c.Match.Operator, c.Type)
	}
	if list := c.Match.Operator == "CONTAINS_ANY"; list != (len(c.Match.Value.StringList) > 0) || list == (c.Match.Value.String != "") {
		return fmt.Errorf("customClaims: %s: %s does not go with the given claimMatchValue", c.Name, c.Match.Operator)
	}
	return nil
}

func (c CustomClaim) holds(claims map[string]any) bool {
	if c.Type == "STRING" {
		got, ok := claims[c.Name].(string)
		return ok && got == c.Match.Value.String
	}
	got := stringsOf(claims[c.Name])
	if c.Match.Operator == "CONTAINS" {
		return slices.Contains(got, c.Match.Value.String)
	}
	return intersects(got, c.Match.Value.StringList)
}

// Token is a token that passed.
type Token struct {
	Raw      string
	Issuer   string
	Subject  string
	ClientID string // "" for an ID token
	Scopes   []string
	Claims   map[string]any
	Expires  time.Time
}

// Authorizer checks tokens against one customJWTAuthorizer. Discovery document and keys are fetched at the first
// check and kept; keys are fetched again when a token names a key that is not among them.
// All methods may be called concurrently.
type Authorizer struct {
	rules  CustomJWT
	client *http.Client
	now    func() time.Time
	ctx    context.Context // ends the refresh of the keys
	cancel context.CancelFunc

	mu     sync.Mutex
	issuer string
	keys   keyfunc.Keyfunc // nil until fetched
}

// NewAuthorizer returns an Authorizer that fetches through client and tells the time by now. Close ends it.
func NewAuthorizer(rules CustomJWT, client *http.Client, now func() time.Time) (*Authorizer, error) {
	if err := rules.Validate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Authorizer{rules: rules, client: client, now: now, ctx: ctx, cancel: cancel}, nil
}

// Close ends the refresh of the keys.
func (a *Authorizer) Close() { a.cancel() }

// Bearer returns the token of an Authorization header. The error is an *Error.
func Bearer(h http.Header) (string, error) {
	value := h.Get("Authorization")
	if value == "" {
		return "", &Error{Missing, "the request has no Authorization header"}
	}
	scheme, token, _ := strings.Cut(value, " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", &Error{Malformed, "the Authorization header does not hold a bearer token"}
	}
	return token, nil
}

// Check verifies raw, a JWT in compact form. The error is an *Error.
func (a *Authorizer) Check(ctx context.Context, raw string) (Token, error) {
	issuer, keys, err := a.load(ctx)
	if err != nil {
		return Token{}, &Error{Unavailable, err.Error()}
	}
	claims := jwt.MapClaims{}
	_, err = jwt.ParseWithClaims(raw, claims, keys.KeyfuncCtx(ctx),
		jwt.WithValidMethods([]string{"RS256"}),
		jwt.WithIssuer(issuer),
		jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(a.now))
	if err != nil {
		return Token{}, refusal(err)
	}
	token := Token{Raw: raw, Issuer: issuer, Claims: claims}
	token.Subject, _ = claims["sub"].(string)
	token.ClientID, _ = claims["client_id"].(string)
	scope, _ := claims["scope"].(string)
	token.Scopes = strings.Fields(scope)
	expires, err := claims.GetExpirationTime()
	if err != nil {
		return Token{}, &Error{Malformed, err.Error()}
	}
	token.Expires = expires.Time
	return token, a.allow(token)
}

func (a *Authorizer) allow(token Token) error {
	if len(a.rules.AllowedAudience) > 0 && !intersects(stringsOf(token.Claims["aud"]), a.rules.AllowedAudience) {
		return &Error{WrongAudience, "claim aud holds none of the allowed audiences"}
	}
	if len(a.rules.AllowedClients) > 0 && !slices.Contains(a.rules.AllowedClients, token.ClientID) {
		return &Error{WrongClient, fmt.Sprintf("claim client_id %q is not an allowed client", token.ClientID)}
	}
	if len(a.rules.AllowedScopes) > 0 && !intersects(token.Scopes, a.rules.AllowedScopes) {
		return &Error{InsufficientScope, "claim scope holds none of the allowed scopes"}
	}
	for _, claim := range a.rules.CustomClaims {
		if !claim.holds(token.Claims) {
			return &Error{WrongClaim, fmt.Sprintf("claim %s does not match", claim.Name)}
		}
	}
	return nil
}

// load returns what the first successful discovery found. A failed one is tried again by the next call.
func (a *Authorizer) load(ctx context.Context) (issuer string, keys keyfunc.Keyfunc, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.keys != nil {
		return a.issuer, a.keys, nil
	}
	var doc struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := getJSON(ctx, a.client, a.rules.DiscoveryURL, &doc); err != nil {
		return "", nil, fmt.Errorf("discovery: %w", err)
	}
	needKeys := false
	keys, err = keyfunc.NewDefaultOverrideCtx(a.ctx, []string{doc.JWKSURI}, keyfunc.Override{
		Client:                    a.client,
		NoErrorReturnFirstHTTPReq: &needKeys,
		RefreshErrorHandlerFunc:   func(string) func(context.Context, error) { return func(context.Context, error) {} },
		RefreshUnknownKID:         rate.NewLimiter(rate.Inf, 1),
	})
	if err != nil {
		return "", nil, fmt.Errorf("key set: %w", err)
	}
	a.issuer, a.keys = doc.Issuer, keys
	return a.issuer, a.keys, nil
}

// refusal sorts the errors of the JWT library.
func refusal(err error) *Error {
	for _, row := range []struct {
		err    error
		reason Reason
	}{
		{jwt.ErrTokenMalformed, Malformed},
		{jwt.ErrTokenSignatureInvalid, BadSignature},
		{jwt.ErrTokenUnverifiable, BadSignature}, // no key of that id
		{jwt.ErrTokenInvalidIssuer, WrongIssuer},
		{jwt.ErrTokenExpired, Expired},
		{jwt.ErrTokenNotValidYet, NotYetValid},
	} {
		if errors.Is(err, row.err) {
			return &Error{row.reason, err.Error()}
		}
	}
	return &Error{Malformed, err.Error()}
}

func getJSON(ctx context.Context, client *http.Client, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, resp.Status)
	}
	return json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(into)
}

// stringsOf is a claim that may be one string or a list of strings.
func stringsOf(claim any) []string {
	switch v := claim.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, item := range v {
			if s, ok := item.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}

func intersects(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}
