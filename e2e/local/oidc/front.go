package oidc

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/central-ops/central-ops/e2e/local/assumed"
	"github.com/central-ops/central-ops/e2e/local/internal/loopback"
)

// Assumptions are the rows of this package.
var Assumptions = []assumed.Row{
	{
		ID:     "jwt-any-scope",
		Where:  "oidc.Authorizer",
		Assume: "a token passes allowedScopes if it has one of them, not all",
		Source: "documented now; older text and third parties say all",
		Check:  "allow two scopes, send a token with one",
	},
	{
		ID:     "jwt-keys-refetched",
		Where:  "oidc.Authorizer",
		Assume: "a token that names an unknown key makes AgentCore fetch the key set again at once",
		Source: "inferred; AWS documents no caching",
		Check:  "not observable without rotating a pool's keys",
	},
	{
		ID:     "cognito-m2m-shape",
		Where:  "oidc.Front",
		Assume: "a client-credentials token has sub = client_id, token_use access, scope, version 2 and no username or groups",
		Source: "documented: Cognito developer guide, \"Understanding the access token\"",
		Check:  "decode a token of a confidential client",
	},
	{
		ID:     "cognito-error-page",
		Where:  "oidc.Front",
		Assume: "/oauth2/authorize sends a browser to /error?error=redirect_mismatch when the callback URL is not the app client's, and to /error?error=invalid_request when the client is unknown or has no sign-in by the pool's own users; that page has status 400",
		Source: "observed in several public reports; AWS documents what is answered when both are right",
		Check:  "open /oauth2/authorize with another port in redirect_uri, and with another client_id",
	},
	{
		ID:     "cognito-error-callback",
		Where:  "oidc.Front",
		Assume: "an error that is sent to the callback URL carries the state; a scope that the client does not allow is error=invalid_request with error_description=invalid_scope",
		Source: "observed in several public reports; documented without state, and as error=invalid_scope",
		Check:  "open /oauth2/authorize with scope=phone",
	},
	{
		ID:     "cognito-code-mismatch",
		Where:  "oidc.Front",
		Assume: "a code is used up by the first token request that names it, also by one that is refused: with unauthorized_client for a redirect_uri that is not the client's, with invalid_grant for another one, another client, or a code_verifier that is wrong, missing, or not asked for",
		Source: "invalid_grant: RFC 6749, RFC 7636 and RFC 9700; the rest is observed in public reports",
		Check:  "trade a code with another code_verifier, then with the right one",
	},
	{
		ID:     "cognito-code-token-shape",
		Where:  "oidc.Front",
		Assume: "the access token of a code has the scopes that were asked for, version 2, and else the claims of InitiateAuth's",
		Source: "documented: Cognito developer guide, \"Understanding the access token\"; that there is no other difference is inferred",
		Check:  "centralops login --browser, and decode the token",
	},
}

// FrontConfig says where the pools are.
type FrontConfig struct {
	// Upstream is moto's URL; it serves /<pool id>/.well-known/jwks.json and InitiateAuth.
	Upstream string
	// Clients finds the app clients; nil means that there are none.
	Clients ClientSource
	// Now is the clock of codes and of the tokens that the front signs; nil means time.Now.
	Now func() time.Time
}

// ClientSource looks up app clients of a pool.
type ClientSource interface {
	// Client returns the app client, or false if the pool has none of that id.
	Client(ctx context.Context, poolID, clientID string) (Client, bool, error)
}

// Client is an app client.
type Client struct {
	PoolID       string
	ID           string
	Secret       string   // "" for a public client
	Scopes       []string // AllowedOAuthScopes
	Flows        []string // AllowedOAuthFlows, if AllowedOAuthFlowsUserPoolClient
	CallbackURLs []string
	Providers    []string // SupportedIdentityProviders; COGNITO are the pool's own users
}

// Clients is a ClientSource that does not change.
type Clients []Client

// Client never fails.
func (c Clients) Client(_ context.Context, poolID, clientID string) (Client, bool, error) {
	i := slices.IndexFunc(c, func(client Client) bool { return client.PoolID == poolID && client.ID == clientID })
	if i < 0 {
		return Client{}, false, nil
	}
	return c[i], true, nil
}

// Sources is a ClientSource that asks each in turn.
type Sources []ClientSource

// Client returns the first that is found.
func (s Sources) Client(ctx context.Context, poolID, clientID string) (Client, bool, error) {
	for _, source := range s {
		if client, found, err := source.Client(ctx, poolID, clientID); found || err != nil {
			return client, found, err
		}
	}
	return Client{}, false, nil
}

// Front serves what Cognito publishes for each pool, and adds a key of its own to the pool's key set: with it the
// token endpoint and tests sign, as moto has no token endpoint and keeps its key to itself.
//
//	GET  /{pool}/.well-known/openid-configuration
//	GET  /{pool}/.well-known/jwks.json   moto's keys and the front's
//	POST /{pool}/oauth2/token            grant_type=client_credentials or authorization_code
//
// and, what a pool's domain has, the pages that people sign in at; see pages.go.
//
// All methods may be called concurrently.
type Front struct {
	*loopback.Server

	config FrontConfig
	client *http.Client

	mu     sync.Mutex
	keys   []key // published; the last one signs
	hidden bool  // moto's keys are not published
	outage bool
	serial int
	codes  map[string]grant
}

type key struct {
	id      string
	private *rsa.PrivateKey
}

// StartFront starts the front on a free port.
func StartFront(config FrontConfig) (*Front, error) {
	if config.Now == nil {
		config.Now = time.Now
	}
	f := &Front{config: config, client: &http.Client{Timeout: 10 * time.Second}, codes: map[string]grant{}}
	if err := f.Rotate(); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{pool}/.well-known/openid-configuration", f.discovery)
	mux.HandleFunc("GET /{pool}/.well-known/jwks.json", f.jwks)
	mux.HandleFunc("POST /{pool}/oauth2/token", private(f.token))
	mux.HandleFunc("GET /{pool}/oauth2/authorize", private(f.authorize))
	mux.HandleFunc("GET /{pool}/login", private(f.login))
	mux.HandleFunc("POST /{pool}/login", private(f.login))
	mux.HandleFunc("GET /{pool}/error", private(f.errorPage))
	server, err := loopback.Serve(f.available(mux))
	if err != nil {
		return nil, err
	}
	f.Server = server
	return f, nil
}

// Issuer is the iss claim of a pool's tokens; "" if poolID does not look like one.
func Issuer(poolID string) string {
	region, _, found := strings.Cut(poolID, "_")
	if !found || !poolPattern.MatchString(poolID) {
		return ""
	}
	return "https://cognito-idp." + region + ".amazonaws.com/" + poolID
}

var poolPattern = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]_[0-9A-Za-z]{1,55}$`)

// DiscoveryURL is the front's own address of a pool's discovery document.
func (f *Front) DiscoveryURL(poolID string) string { return f.URL + "/" + poolID + discoverySuffix }

// JWKSURL is the front's own address of a pool's key set.
func (f *Front) JWKSURL(poolID string) string { return f.URL + "/" + poolID + "/.well-known/jwks.json" }

// TokenURL is the front's own address of a pool's token endpoint.
func (f *Front) TokenURL(poolID string) string { return f.URL + "/" + poolID + "/oauth2/token" }

// Transport sends requests for Cognito's own host names to the front, and refuses every other host that is not
// loopback, so that an authorizer may be configured with the discovery URL that it would have on AWS.
func (f *Front) Transport() http.RoundTripper { return redirect{f} }

type redirect struct{ front *Front }

var cognitoHost = regexp.MustCompile(`^cognito-idp\.[a-z0-9-]+\.amazonaws\.com$`)

func (t redirect) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Hostname() == "127.0.0.1" {
		return http.DefaultTransport.RoundTrip(r)
	}
	if !cognitoHost.MatchString(r.URL.Hostname()) {
		return nil, fmt.Errorf("%s is neither on this machine nor Cognito", r.URL.Host)
	}
	to, err := url.Parse(t.front.URL)
	if err != nil {
		return nil, err
	}
	clone := r.Clone(r.Context())
	clone.Host = r.URL.Host
	clone.URL.Scheme, clone.URL.Host = to.Scheme, to.Host
	return http.DefaultTransport.RoundTrip(clone)
}

// SetOutage makes every request fail with 503 until it is called with false.
func (f *Front) SetOutage(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.outage = down
}

// Rotate publishes a new signing key and goes on publishing the old ones, as Cognito does.
func (f *Front) Rotate() error {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.serial++
	f.keys = append(f.keys, key{id: fmt.Sprintf("central-ops-local-%d", f.serial), private: private})
	return nil
}

// RetireOldKeys withdraws all keys but the newest, moto's included.
func (f *Front) RetireOldKeys() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keys, f.hidden = f.keys[len(f.keys)-1:], true
}

// Sign returns a token with the given claims under the newest key, valid or not as the claims have it.
func (f *Front) Sign(claims map[string]any) (string, error) {
	f.mu.Lock()
	k := f.keys[len(f.keys)-1]
	f.mu.Unlock()
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims(claims))
	token.Header["kid"] = k.id
	return token.SignedString(k.private)
}

func (f *Front) available(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		outage := f.outage
		f.mu.Unlock()
		if outage {
			http.Error(w, "Service Unavailable", http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (f *Front) discovery(w http.ResponseWriter, r *http.Request) {
	pool := r.PathValue("pool")
	issuer := Issuer(pool)
	if issuer == "" {
		poolNotFound(w, pool)
		return
	}
	base := f.URL + "/" + pool
	jwks := base
	if cognitoHost.MatchString(r.Host) {
		jwks = "https://" + r.Host + "/" + pool
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                                issuer,
		"jwks_uri":                              jwks + "/.well-known/jwks.json",
		"authorization_endpoint":                base + "/oauth2/authorize",
		"token_endpoint":                        base + "/oauth2/token",
		"grant_types_supported":                 []string{"authorization_code", "client_credentials"},
		"response_types_supported":              []string{"code"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post"},
	})
}

// jwk is a public key as Cognito publishes it.
type jwk struct {
	Alg string `json:"alg"`
	E   string `json:"e"`
	Kid string `json:"kid"`
	Kty string `json:"kty"`
	N   string `json:"n"`
	Use string `json:"use"`
}

func (f *Front) jwks(w http.ResponseWriter, r *http.Request) {
	pool := r.PathValue("pool")
	if Issuer(pool) == "" {
		poolNotFound(w, pool)
		return
	}
	f.mu.Lock()
	keys, hidden := slices.Clone(f.keys), f.hidden
	f.mu.Unlock()
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if !hidden {
		if err := getJSON(r.Context(), f.client, f.config.Upstream+r.URL.Path, &set); err != nil {
			http.Error(w, "key set of the pool: "+err.Error(), http.StatusBadGateway)
			return
		}
	}
	for _, k := range keys {
		set.Keys = append(set.Keys, jwk{
			Alg: "RS256", Kid: k.id, Kty: "RSA", Use: "sig",
			N: base64.RawURLEncoding.EncodeToString(k.private.N.Bytes()),
			E: base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.private.E)).Bytes()),
		})
	}
	writeJSON(w, http.StatusOK, set)
}

// tokenLife is Cognito's default life of an access token.
const tokenLife = time.Hour

// token answers as https://docs.aws.amazon.com/cognito/latest/developerguide/token-endpoint.html. It has no
// grant_type=refresh_token, as nothing here uses it: InitiateAuth renews the tokens of a code as well.
func (f *Front) token(w http.ResponseWriter, r *http.Request) {
	pool := r.PathValue("pool")
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil || r.PostForm.Get("grant_type") == "" {
		oauthError(w, http.StatusBadRequest, "invalid_request")
		return
	}
	grants := map[string]func(http.ResponseWriter, url.Values, Client){"client_credentials": f.machineToken, "authorization_code": f.redeem}
	answer := grants[r.PostForm.Get("grant_type")]
	if answer == nil {
		oauthError(w, http.StatusBadRequest, "unsupported_grant_type")
		return
	}
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	client, found, err := f.findClient(r.Context(), pool, id)
	if err != nil {
		http.Error(w, "app client: "+err.Error(), http.StatusBadGateway)
		return
	}
	if !found || client.Secret != secret {
		oauthError(w, http.StatusBadRequest, "invalid_client")
		return
	}
	answer(w, r.PostForm, client)
}

func (f *Front) findClient(ctx context.Context, pool, id string) (Client, bool, error) {
	if f.config.Clients == nil || id == "" {
		return Client{}, false, nil
	}
	return f.config.Clients.Client(ctx, pool, id)
}

// machineToken answers grant_type=client_credentials.
func (f *Front) machineToken(w http.ResponseWriter, form url.Values, client Client) {
	if client.Secret == "" {
		oauthError(w, http.StatusBadRequest, "invalid_client")
		return
	}
	if !slices.Contains(client.Flows, "client_credentials") {
		oauthError(w, http.StatusBadRequest, "unauthorized_client")
		return
	}
	scopes, ok := client.scopes(form.Get("scope"))
	if !ok {
		oauthError(w, http.StatusBadRequest, "invalid_scope")
		return
	}
	now := f.config.Now()
	signed, err := f.Sign(map[string]any{
		"iss": Issuer(client.PoolID), "sub": client.ID, "client_id": client.ID, "token_use": "access", "version": 2,
		"scope": strings.Join(scopes, " "), "jti": rand.Text(),
		"iat": now.Unix(), "auth_time": now.Unix(), "exp": now.Add(tokenLife).Unix(),
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"access_token": signed, "expires_in": int(tokenLife.Seconds()), "token_type": "Bearer",
	})
}

// scopes returns the scopes that are asked for, which are all of the client's if none is, and whether the client may have them.
func (c Client) scopes(asked string) ([]string, bool) {
	scopes := strings.Fields(asked)
	if len(scopes) == 0 {
		scopes = c.Scopes
	}
	return scopes, !slices.ContainsFunc(scopes, func(scope string) bool { return !slices.Contains(c.Scopes, scope) })
}

func oauthError(w http.ResponseWriter, status int, code string) {
	writeJSON(w, status, map[string]string{"error": code})
}

func poolNotFound(w http.ResponseWriter, pool string) {
	writeJSON(w, http.StatusNotFound, map[string]string{"message": "User pool " + pool + " does not exist."})
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	var body bytes.Buffer
	if err := json.NewEncoder(&body).Encode(value); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.Copy(w, &body) // the client may be gone
}
