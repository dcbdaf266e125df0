// Package identity reads who asks from the person's access token.
//
// The Runtime has verified the token before the container sees it
// (https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-oauth.html, read 2026-10), so
// reading its claims is enough to know whose session it is; what the person may do is decided by the
// Gateway and the bridge, which verify it again. With an issuer configured, this package verifies it too.
//
// The tokens are Cognito access tokens: client_id and token_use, no aud.
package identity

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	agent "github.com/central-ops/central-ops/services/agent"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"
)

const (
	// maxTokenBytes is far above an access token with many groups (1,500 bytes) and below what a header may have.
	maxTokenBytes = 16 << 10
	// leeway allows for clocks that differ.
	leeway = 30 * time.Second
	// keysTimeout bounds reading the key set.
	keysTimeout = 5 * time.Second
	// unknownKeyEvery is how often a token with an unknown key id may cause the key set to be read again.
	unknownKeyEvery = 10 * time.Second
)

// Config says what tokens must match. The zero value verifies nothing but form and expiry.
type Config struct {
	Issuer    string   // the iss claim; "" to verify nothing
	ClientIDs []string // accepted client_id claims; empty for any
	JWKSURL   string   // with Issuer
}

// Verifier reads tokens. It is safe for concurrent use.
type Verifier struct {
	config Config
	parser *jwt.Parser

	mu   sync.Mutex
	keys keyfunc.Keyfunc // nil until the key set has been read once
}

// New returns a Verifier. It reads the key set with the first token, so that an issuer which is down
// does not keep the agent from starting.
func New(config Config) *Verifier {
	return &Verifier{config: config, parser: jwt.NewParser(
		jwt.WithValidMethods([]string{"RS256", "RS384", "RS512", "PS256", "ES256", "ES384"}),
		jwt.WithIssuer(config.Issuer),
		jwt.WithExpirationRequired(),
		jwt.WithLeeway(leeway),
	)}
}

// claims are those the agent looks at.
type claims struct {
	Subject  string   `json:"sub"`
	ClientID string   `json:"client_id"`
	TokenUse string   `json:"token_use"`
	Expires  *float64 `json:"exp"`
}

// Subject returns the token's sub claim, and its end if it has one. token is the bare JWT. Errors: unauthenticated,
// and unavailable when the issuer's keys cannot be read.
func (v *Verifier) Subject(ctx context.Context, token string) (subject string, expires time.Time, err error) {
	if token == "" {
		return "", expires, refused("there is no bearer token", "sign in, and send the access token as \"Authorization: Bearer …\"")
	}
	parsed, err := decode(token)
	if err != nil {
		return "", expires, &agent.Error{Op: "read token", Code: agent.CodeUnauthenticated, Message: err.Error(), Hint: "sign in again and send the access token", Err: err}
	}
	if parsed.Subject == "" {
		return "", expires, refused("the token has no sub claim", "sign in again and send the access token")
	}
	if parsed.Expires != nil {
		if float64(time.Now().Add(-leeway).Unix()) > *parsed.Expires {
			return "", expires, refused("the token has expired", "sign in again")
		}
		expires = time.Unix(int64(*parsed.Expires), 0)
	}
	if v.config.Issuer != "" {
		err = v.verify(ctx, token, parsed)
	}
	return parsed.Subject, expires, err
}

func refused(message, hint string) *agent.Error {
	return &agent.Error{Op: "read token", Code: agent.CodeUnauthenticated, Message: message, Hint: hint}
}

// decode reads a token's claims without verifying them. Its errors never hold any of the token.
func decode(token string) (claims, error) {
	if len(token) > maxTokenBytes {
		return claims{}, fmt.Errorf("the token has %d bytes, more than %d", len(token), maxTokenBytes)
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return claims{}, errors.New("the bearer token is not a JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return claims{}, errors.New("the bearer token is not a JWT: its payload is not base64url")
	}
	var parsed claims
	if err := json.Unmarshal(payload, &parsed); err != nil {
		return claims{}, errors.New("the bearer token is not a JWT: its payload does not hold the claims of one")
	}
	return parsed, nil
}

func (v *Verifier) verify(ctx context.Context, token string, parsed claims) error {
	keys, err := v.keySet()
	if err != nil {
		return &agent.Error{
			Op: "read token", Code: agent.CodeUnavailable, Err: err,
			Message: "the issuer's keys cannot be read",
			Hint:    "ask again in a minute; the operator: check TOKEN_JWKS_URL",
		}
	}
	find := keys.KeyfuncCtx(ctx)
	if _, err := v.parser.Parse(token, func(t *jwt.Token) (any, error) {
		if _, ok := t.Header["crit"]; ok { // extensions that must be understood, and none is: RFC 7515, 4.1.11
			return nil, errors.New("critical header parameters")
		}
		return find(t)
	}); err != nil {
		message := "the token is not valid"
		switch {
		case errors.Is(err, jwt.ErrTokenExpired):
			message = "the token has expired"
		case errors.Is(err, jwt.ErrTokenInvalidIssuer):
			message = "the token is from another issuer"
		case errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenUnverifiable):
			message = "the token's signature is not the issuer's"
		}
		return &agent.Error{Op: "read token", Code: agent.CodeUnauthenticated, Message: message, Hint: "sign in again", Err: err}
	}
	if parsed.TokenUse != "access" {
		return refused("the token is not an access token", "send the access token, not the ID token")
	}
	if len(v.config.ClientIDs) > 0 && !slices.Contains(v.config.ClientIDs, parsed.ClientID) {
		return refused("the token is for another client", "sign in with this system's client")
	}
	return nil
}

// keySet returns the issuer's keys, which it reads when first needed and then keeps fresh.
func (v *Verifier) keySet() (keyfunc.Keyfunc, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.keys != nil {
		return v.keys, nil
	}
	mustRead := false
	// Not the caller's context: the keys are for all callers, and are refreshed as long as the process lives.
	keys, err := keyfunc.NewDefaultOverrideCtx(context.Background(), []string{v.config.JWKSURL}, keyfunc.Override{
		Client:                    &http.Client{Timeout: keysTimeout},
		HTTPTimeout:               keysTimeout,
		NoErrorReturnFirstHTTPReq: &mustRead,
		RateLimitWaitMax:          keysTimeout, // bounds the reading, too, and not only the wait for its turn
		RefreshUnknownKID:         rate.NewLimiter(rate.Every(unknownKeyEvery), 1),
		RefreshErrorHandlerFunc: func(string) func(context.Context, error) {
			return func(context.Context, error) {} // the old keys serve on; an unknown key is refused above
		},
	})
	if err != nil {
		return nil, err
	}
	v.keys = keys
	return keys, nil
}
